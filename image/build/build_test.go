package build

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"beffroi.dev/image/packages"
)

func config(t *testing.T) Config {
	dir := t.TempDir()
	return Config{Version: "1.2.3", Source: dir, Lock: "lock", Mirror: "http://localhost", Out: filepath.Join(dir, "out"), Cache: filepath.Join(dir, "cache")}
}

func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	good := config(t)
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(c *Config){
		"no version":           func(c *Config) { c.Version = "" },
		"a version with paths": func(c *Config) { c.Version = "../1" },
		"two tries counters":   func(c *Config) { c.Version = "1+3" },
		"half a key":           func(c *Config) { c.Key = "a" },
		"no lock":              func(c *Config) { c.Lock = "" },
	} {
		c := good
		if spoil(&c); c.Validate() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestADevelopmentKeyIsMadeOnceWithAWarning(t *testing.T) {
	var log bytes.Buffer
	b := &builder{Config: config(t), log: &log}
	one, err := b.key()
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.key()
	if err != nil || !one.Private.Equal(two.Private) {
		t.Errorf("another key the second time (%v)", err)
	}
	if strings.Count(log.String(), "WARNING") != 2 {
		t.Errorf("%s", log.String())
	}
}

func TestABuildTellsWhatThePackagesLack(t *testing.T) {
	both := []byte("kernel/x86/microcode/AuthenticAMD.bin\x00..kernel/x86/microcode/GenuineIntel.bin\x00")
	for _, tc := range []struct {
		name      string
		microcode []byte
		firmware  []string
		want      []string
	}{
		{"nothing", both, nil, nil},
		{"one maker's microcode", both[:len(both)/2], nil, []string{"GenuineIntel.bin"}},
		{"all microcode", nil, nil, []string{"AuthenticAMD.bin", "GenuineIntel.bin"}},
		{"firmware", both, []string{"a.fw", "b.fw"}, []string{"a.fw b.fw"}},
	} {
		var log bytes.Buffer
		b := &builder{Config: config(t), log: &log}
		b.lacks(tc.microcode, tc.firmware)
		if strings.Count(log.String(), "WARNING") != len(tc.want) {
			t.Errorf("%s: %s", tc.name, log.String())
		}
		for _, w := range tc.want {
			if !strings.Contains(log.String(), w) {
				t.Errorf("%s: no %q in %s", tc.name, w, log.String())
			}
		}
	}
}

func TestAStageIsMadeAgainOnlyWhenItsInputsChange(t *testing.T) {
	b := &builder{Config: config(t), log: io.Discard}
	made := 0
	stage := func(input string) string {
		dir, err := b.stage("s", []string{input}, func(dir string) error {
			made++
			return writeAll(dir, map[string][]byte{"f": []byte(input)})
		})
		if err != nil {
			t.Fatal(err)
		}
		f, err := files(dir, "f")
		if err != nil || string(f["f"]) != input {
			t.Fatalf("%s, %v", f, err)
		}
		return dir
	}
	first := stage("a")
	stage("a")
	stage("b")
	if _, err := os.Stat(first); made != 2 || err == nil {
		t.Errorf("made %d times; the old one: %v", made, err)
	}
}

// TestTwoBuildsGiveTheSameBytes builds the whole image twice: in other folders, with
// other caches, umasks, time zones and times of day and, when root runs the test, by
// another user. It needs the mirror, and some minutes.
func TestTwoBuildsGiveTheSameBytes(t *testing.T) {
	if os.Getenv("BEFFROI_IMAGE_TESTS") == "" {
		t.Skip("slow: set BEFFROI_IMAGE_TESTS=1")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "twice") // not t.TempDir, which only its owner may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command("sh", "-c", `chmod -R u+w "$1"; rm -rf "$1"`, "sh", dir).Run() })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	key, cert := filepath.Join(dir, "a.key"), filepath.Join(dir, "a.pem")
	if err := makeKey(dir, key, cert); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "mkimage")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", program, "./cmd/mkimage")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, f := range []string{dir, key} { // the other user reads them
		if err := os.Chmod(f, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sums := map[string][2][32]byte{}
	for i, umask := range []string{"022", "077"} {
		place := filepath.Join(dir, []string{"a", "another/deeper"}[i])
		copied := exec.CommandContext(t.Context(), "sh", "-c", `umask 022 && mkdir -p "$2/src" && cp -r "$1/go.mod" "$1/go.sum" "$1/appliance" "$1/board" "$1/cmd" "$1/image" "$1/pkg" "$2/src/"`, "sh", root, place)
		if text, err := copied.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		script := "umask " + umask + ` && cd "$1/src" && exec "$2" build -out "$1/out" -cache "$1/cache" -key "$3" -cert "$4"`
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script, "sh", place, program, key, cert)
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000", "TZ="+[]string{"UTC", "Asia/Tokyo"}[i])
		if i == 1 && os.Getuid() == 0 {
			stranger(t, cmd, root, place)
		}
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		for _, lacking := range []string{"microcode ", "intel/ice/", "tigon/", "bnx2x/"} {
			for line := range strings.Lines(string(text)) {
				if strings.Contains(line, "WARNING") && strings.Contains(line, lacking) {
					t.Errorf("the image lacks %s: %s", lacking, line)
				}
			}
		}
		for _, f := range []string{"beffroi.img", "beffroi_0.1.0+3.efi", "manifest.json", "sbom.cdx.json"} {
			b, err := os.ReadFile(filepath.Join(place, "out", f))
			if err != nil {
				t.Fatal(err)
			}
			pair := sums[f]
			pair[i] = sha256.Sum256(b)
			sums[f] = pair
		}
	}
	for f, pair := range sums {
		if pair[0] != pair[1] {
			t.Errorf("%s differs", f)
		}
		t.Logf("%s: %x", f, pair[0])
	}
}

// stranger lets a user who owns nothing here run a command: with a home, caches and
// modules of his own, which come from what root has downloaded.
func stranger(t *testing.T, cmd *exec.Cmd, root, place string) {
	t.Helper()
	const uid = 54321
	modules := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE")
	modules.Dir = root
	cache, err := modules.Output()
	if err != nil {
		t.Fatal(err)
	}
	give := exec.CommandContext(t.Context(), "sh", "-c", `umask 022 && mkdir -p "$2/home" && cp -r "$1/cache/download" "$2/modules" && chmod -R a+rX "$2" && chown -R "$3:$3" "$2"`,
		"sh", strings.TrimSpace(string(cache)), place, strconv.Itoa(uid))
	if text, err := give.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	home := filepath.Join(place, "home")
	cmd.Env = append(cmd.Env, "HOME="+home, "TMPDIR="+home, "GOCACHE="+home+"/build", "GOMODCACHE="+home+"/mod", "GOPATH="+home+"/go",
		"GOPROXY=file://"+place+"/modules", "GOSUMDB=off", "GOFLAGS=", "USER=stranger")
}

// thisProgram is one that a Go linker has made.
func thisProgram(t *testing.T) []byte {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// TestTheBillNamesEveryPackage reads the SBOM of made-up programs.
func TestTheBillNamesEveryPackage(t *testing.T) {
	program := thisProgram(t)
	c := config(t)
	b := &builder{Config: c, log: io.Discard, lock: packages.Lock{Suite: "s", Packages: []packages.Package{
		{Name: "squashfs-tools", Version: "1"}, {Name: "liba", Version: "2", Arch: "amd64"}}}}
	text, err := b.bom(parts{Init: program, Beffroi: program, Control: program, Recovery: program})
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		BomFormat  string
		Components []component
	}
	if err := json.Unmarshal(text, &bom); err != nil || bom.BomFormat != "CycloneDX" {
		t.Fatalf("%v: %s", err, text)
	}
	seen := map[string]string{}
	for _, c := range bom.Components {
		seen[c.PURL] = c.Scope
	}
	if seen["pkg:deb/debian/squashfs-tools@1?arch=&distro=s"] != "excluded" {
		t.Errorf("%v", seen)
	}
	if _, ok := seen["pkg:deb/debian/liba@2?arch=amd64&distro=s"]; !ok {
		t.Errorf("%v", seen)
	}
}
