package dhcp_test

import (
	"testing"

	"beffroi.dev/pkg/host/netcfg/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }
