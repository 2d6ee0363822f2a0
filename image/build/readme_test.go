package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beffroi.dev/pkg/host/layout"
)

// TestTheReadmeGivesTheESPBackAndNothingElse: a number that is off by one there would
// destroy what a node is.
func TestTheReadmeGivesTheESPBackAndNothingElse(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := layout.Default("1").Plan()
	if err != nil {
		t.Fatal(err)
	}
	at, ok := table.Find(layout.TypeESP)
	if !ok || at.Offset()%(1<<20) != 0 || at.Size()%(1<<20) != 0 {
		t.Fatalf("%+v", at)
	}
	want := fmt.Sprintf("bs=1M skip=%[1]d seek=%[1]d count=%[2]d conv=notrunc,fsync\n", at.Offset()>>20, at.Size()>>20)
	if !strings.Contains(string(readme), want) {
		t.Errorf("README.md does not say: %s", want)
	}
	if said := fmt.Sprintf("LOG-SEC must be %d", layout.Sector); !strings.Contains(string(readme), said) {
		t.Errorf("README.md does not say: %s", said)
	}
}
