package throttle_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"beffroi.dev/pkg/citizen/throttle"
)

func TestAKeyMayActItsBurstAndThenWaits(t *testing.T) {
	tab := throttle.New(time.Minute, 3)
	now := time.Unix(1e9, 0)
	for i := range 3 {
		if ok, _ := tab.Allow("a", now); !ok {
			t.Fatalf("act %d refused", i+1)
		}
	}
	ok, wait := tab.Allow("a", now)
	if ok || wait <= 0 || wait > time.Minute {
		t.Errorf("fourth act: %v, wait %v", ok, wait)
	}
	if ok, _ := tab.Allow("b", now); !ok {
		t.Error("another key was refused")
	}
	if ok, _ := tab.Allow("a", now.Add(time.Minute)); !ok {
		t.Error("refused after waiting")
	}
}

func TestManyKeysDoNotGrowTheTableWithoutEnd(t *testing.T) {
	tab := throttle.New(time.Hour, 1)
	now := time.Unix(1e9, 0)
	for i := range 30000 {
		tab.Allow(fmt.Sprint(i), now)
	}
	if ok, _ := tab.Allow("29999", now); ok {
		t.Error("a recent key was forgotten")
	}
	if ok, _ := tab.Allow("0", now); !ok {
		t.Error("the oldest key was kept")
	}
}

func TestOneHouseholdIsOneKey(t *testing.T) {
	for a, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := throttle.Address(netip.MustParseAddr(a)); got != want {
			t.Errorf("Address(%s) = %s; want %s", a, got, want)
		}
	}
}
