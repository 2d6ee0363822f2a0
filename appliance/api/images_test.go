package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/api"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// image is a raw disk image of some MiB with a boot sector.
func image(mib int) []byte {
	b := make([]byte, mib<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(b); i += 4096 {
		b[i] = byte(r.Uint32())
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// ends waits for a job's end.
func (r *rig) ends(id uint64) (j api.Job) {
	r.t.Helper()
	r.await("the end of the job", func() bool {
		j = get[api.Job](r, fmt.Sprintf("jobs/%d", id))
		return j.Ended != nil
	})
	return j
}

func (r *rig) begins(a answer) (j api.Job) {
	r.t.Helper()
	if err := json.Unmarshal(a.body, &j); err != nil || a.code != http.StatusAccepted {
		r.t.Fatalf("import: %d %s", a.code, a.body)
	}
	return j
}

// nothing is left of an import.
func (r *rig) nothing() {
	r.t.Helper()
	if g, v := get[[]api.Group](r, "groups"), get[[]api.VM](r, "vms"); len(g)+len(v) != 0 {
		r.t.Errorf("left: %+v %+v", g, v)
	}
	if files, err := os.ReadDir(r.dir.Uploads()); err != nil || len(files) != 0 {
		r.t.Errorf("files left: %v %v", files, err)
	}
}

func TestAnImageBecomesAVM(t *testing.T) {
	raw := image(3)
	qcow := func(t *testing.T) []byte {
		if _, err := exec.LookPath("qemu-img"); err != nil {
			t.Skip("qemu-img is not installed")
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "raw"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", filepath.Join(dir, "raw"), filepath.Join(dir, "qcow2")).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		b, err := os.ReadFile(filepath.Join(dir, "qcow2"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		name  string
		image func(*testing.T) []byte
		query string
		size  int64
	}{
		{"raw", func(*testing.T) []byte { return raw }, "", 3 << 20},
		{"raw, larger", func(*testing.T) []byte { return raw }, "&size_bytes=5000001", 5001216},
		{"qcow2", qcow, "", 3 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			job := r.begins(r.admin("POST", "images?name=town&cpus=2&memory_mb=256&firmware=uefi&prefer=b"+tt.query, tt.image(t)))
			if job = r.ends(job.ID); job.Phase != api.PhaseDone || job.Error != "" || job.User != "token" {
				t.Fatalf("job: %+v", job)
			}
			v, g := get[[]api.VM](r, "vms")[0], get[[]api.Group](r, "groups")[0]
			if v.Name != "town" || v.CPUs != 2 || v.MemoryMB != 256 || v.Firmware != "uefi" || !v.Run || v.Group != g.Name || g.Preferred != "b" || g.Volumes[0].SizeBytes != tt.size {
				t.Errorf("made %+v on %+v", v, g)
			}
			got := make([]byte, len(raw))
			_, _ = r.disks["town/disk0"].ReadAt(got, 0)
			if !bytes.Equal(got, raw) {
				t.Error("the volume differs from the image")
			}
			if files, _ := os.ReadDir(r.dir.Uploads()); len(files) != 0 {
				t.Errorf("files left: %v", files)
			}
		})
	}
}

func TestWhatIsNoImageIsRefusedBeforeAnythingIsCreated(t *testing.T) {
	r := newRig(t)
	for name, body := range map[string][]byte{"empty": {}, "text": []byte("bonjour"), "zeros": make([]byte, 1<<20)} {
		if a := r.admin("POST", "images?name=town", body); a.Code != api.BadImage || a.Hint == "" || strings.Contains(a.Message, string(r.dir)) {
			t.Errorf("%s: %d %s", name, a.code, a.body)
		}
	}
	for _, nics := range []string{"5", "-1", "many"} {
		if a := r.admin("POST", "images?name=town&nics="+nics, image(1)); a.Code != api.BadInput || !strings.Contains(a.Message, "0 to 4") {
			t.Errorf("%s network cards: %d %+v", nics, a.code, a.Error)
		}
	}
	if a := r.admin("POST", "images?name=town&size_bytes=4096", image(1)); a.Code != api.BadInput || !strings.Contains(a.Message, "needs 1048576") {
		t.Errorf("a size that is too small: %s", a.body)
	}
	r.nothing()
	r.locked(func() {
		for _, e := range r.state.Events {
			if e.Kind == "create-group" {
				t.Error("a group was created")
			}
		}
	})
}

func TestAFailedImportRemovesWhatItCreated(t *testing.T) {
	r := newRig(t)
	r.locked(func() { r.mute = true })
	job := r.begins(r.admin("POST", "images?name=town", image(1)))
	if job = r.ends(job.ID); job.Phase != api.PhaseFailed || !strings.Contains(job.Error, "does not answer") {
		t.Errorf("job: %+v", job)
	}
	r.nothing()
}

func TestACancelledImportRemovesWhatItCreated(t *testing.T) {
	r := newRig(t)
	r.locked(func() { r.slow = 300 * time.Millisecond })
	job := r.begins(r.admin("POST", "images?name=town", image(40)))
	path := fmt.Sprintf("jobs/%d", job.ID)
	r.await("copying", func() bool { j := get[api.Job](r, path); return j.Phase == api.PhaseCopy && j.Percent > 0 })
	if a := r.admin("POST", "images?name=town", image(1)); a.Code != api.Refused {
		t.Errorf("the same name again: %s", a.body)
	}
	for _, want := range []string{`{"changed":true}`, `{"changed":false}`} {
		if a := r.admin("DELETE", path, nil); strings.TrimSpace(string(a.body)) != want {
			t.Errorf("cancel: %s; want %s", a.body, want)
		}
		job = r.ends(job.ID)
	}
	if job.Phase != api.PhaseFailed || !strings.Contains(job.Error, "cancelled") {
		t.Errorf("job: %+v", job)
	}
	r.nothing()
}

func TestAnUploadThatBreaksOffLeavesNothing(t *testing.T) {
	r := newRig(t)
	nc, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(nc, "POST /api/v1/images?name=town HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+"\r\nContent-Length: 1048576\r\n\r\nsome bytes")
	r.await("uploading", func() bool { return len(get[[]api.Job](r, "jobs")) == 1 })
	_ = nc.Close()
	if job := r.ends(get[[]api.Job](r, "jobs")[0].ID); job.Phase != api.PhaseFailed || !strings.Contains(job.Error, "upload ended") {
		t.Errorf("job: %+v", job)
	}
	r.nothing()
	// One whose client only keeps silent is ended by cancelling it.
	if nc, err = net.Dial("tcp", strings.TrimPrefix(r.url, "http://")); err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = io.WriteString(nc, "POST /api/v1/images?name=town HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+"\r\nContent-Length: 1048576\r\n\r\nsome bytes")
	r.await("uploading", func() bool { return len(get[[]api.Job](r, "jobs")) == 2 })
	id := get[[]api.Job](r, "jobs")[1].ID
	r.admin("DELETE", fmt.Sprintf("jobs/%d", id), nil)
	r.ends(id)
	r.nothing()
}

func TestTheNextLifeCleansUp(t *testing.T) {
	r := newRig(t)
	id := r.apply(&cluster.CreateGroup{Name: "town", Preferred: self, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "disk0", SizeBytes: 1 << 20}}}).Group
	used := r.apply(&cluster.CreateGroup{Name: "used", Preferred: self, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "disk0", SizeBytes: 1 << 20}}}).Group
	r.apply(&cluster.CreateVM{Name: "used", Group: used, CPUs: 1, MemoryMB: 64, Firmware: "bios"})
	for name, text := range map[string]string{"1.image": "half", "1.json": note(id), "2.json": note(used), "3.json": "torn"} {
		if err := os.WriteFile(filepath.Join(r.dir.Uploads(), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	r.await("clean", func() bool { files, _ := os.ReadDir(r.dir.Uploads()); return len(files) == 0 })
	s, _ := r.Watch(context.Background(), 0)
	if _, ok := s.Groups[id]; ok || len(s.Groups) != 1 {
		t.Errorf("groups: %+v; want the one in use alone", s.Groups)
	}
}

func note(g ident.Group) string { return fmt.Sprintf(`{"group": %d}`, g) }
