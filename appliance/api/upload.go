package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/guest/importer"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// spare is what an upload leaves free in its folder, bytes: the node's logs and
// votes lie on the same disk.
const spare = 64 << 20

// imports asks for a VM made of an image.
type imports struct {
	vm     NewVM
	size   int64 // bytes that are asked for; 0: as the image
	prefer ident.Node
	who    caller
	id     uint64
	path   string // of the uploaded file
	image  importer.Image
}

// parseImport reads the query of an upload.
func parseImport(q url.Values, s *cluster.State, self ident.Node) (imports, error) {
	in := imports{vm: NewVM{Name: q.Get("name"), Firmware: q.Get("firmware"), Run: true}, prefer: self}
	var err error
	number := func(key string) int64 {
		var n int64
		if text := q.Get(key); text != "" && err == nil {
			if n, err = strconv.ParseInt(text, 10, 64); err != nil || n < 1 {
				err = badInput("%s %.30q: use a number from 1", key, text)
			}
		}
		return n
	}
	for key := range q {
		if !strings.Contains(" name firmware cpus memory_mb nics size_bytes prefer run ", " "+key+" ") {
			return in, badInput("field %.40q: use name, cpus, memory_mb, firmware, nics, size_bytes, prefer and run", key)
		}
	}
	in.vm.CPUs, in.vm.MemoryMB, in.size = int(number("cpus")), int(number("memory_mb")), number("size_bytes")
	if err != nil {
		return in, err
	}
	if text := q.Get("nics"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return in, badInput("nics %.30q: use 0 to %d", text, cluster.MaxCards)
		}
		in.vm.NICs = &n
	}
	if text := q.Get("run"); text != "" {
		if in.vm.Run, err = strconv.ParseBool(text); err != nil {
			return in, badInput("run %.30q: use true or false", text)
		}
	}
	if in.vm, err = in.vm.withDefaults(); err != nil {
		return in, err
	}
	if name := q.Get("prefer"); name != "" {
		if in.prefer, err = nodeNamed(s, name); err != nil {
			return in, err
		}
	}
	if in.size > cluster.MaxVolumeBytes {
		return in, badInput("size_bytes %d: use at most %d", in.size, int64(cluster.MaxVolumeBytes))
	}
	if _, err := vmNamed(s, in.vm.Name); err == nil {
		return in, &Error{Code: Refused, Message: fmt.Sprintf("VM %s exists already", in.vm.Name), Hint: "choose another name, or delete it first"}
	}
	if _, err := groupNamed(s, in.vm.Name); err == nil {
		return in, &Error{Code: Refused, Message: fmt.Sprintf("group %s exists already; the VM's disk would have its name", in.vm.Name), Hint: "choose another name, or delete it first"}
	}
	return in, nil
}

// importImage takes the image, looks at it, and leaves the rest to a job.
func (a *API) importImage(w http.ResponseWriter, r *http.Request, who caller) error {
	s, err := a.state(r.Context())
	if err != nil {
		return err
	}
	in, err := parseImport(r.URL.Query(), s, a.cfg.Self)
	if err != nil {
		return err
	}
	in.who = who
	bound, err := a.room(r.ContentLength)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(a.tasks.Context())
	in.id, err = a.jobs.begin(Job{Kind: "import", VM: in.vm.Name, User: who.name, Phase: PhaseUpload, TotalBytes: max(r.ContentLength, 0)}, cancel)
	if err != nil {
		cancel()
		return err
	}
	in.path = filepath.Join(a.cfg.Dir.Uploads(), fmt.Sprintf("%d.image", in.id))
	if err = a.upload(ctx, w, r, &in, bound); err == nil {
		in.image, err = importer.Inspect(in.path)
	}
	if errors.Is(err, importer.ErrImage) {
		err = &Error{Code: BadImage, Message: strings.ReplaceAll(err.Error(), in.path, "the file"), Hint: "use a raw image or qcow2 without a backing file; nothing was created"}
	}
	if err == nil && in.size != 0 && in.size < in.image.VirtualSize {
		err = badInput("size_bytes %d: the image needs %d", in.size, in.image.VirtualSize)
	}
	if err != nil {
		cancel()
		_ = os.Remove(in.path)
		a.jobs.end(in.id, err)
		return err
	}
	in.size = roundUp(max(in.size, in.image.VirtualSize, cluster.MinVolumeBytes))
	a.tasks.Go("import "+in.vm.Name, func(context.Context) error {
		defer cancel()
		a.fulfil(ctx, in)
		return nil
	})
	job, _, _ := a.jobs.find(in.id)
	write(w, http.StatusAccepted, job)
	return nil
}

func roundUp(n int64) int64 { return (n + disk.BlockSize - 1) &^ (disk.BlockSize - 1) }

// room tells how long an upload may be.
func (a *API) room(length int64) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(a.cfg.Dir.Uploads(), &st); err != nil {
		return 0, fmt.Errorf("room for uploads: %w", err)
	}
	free := int64(st.Bavail)*st.Bsize - spare
	bound := min(a.cfg.MaxUpload, max(free, 0))
	if length > bound || bound == 0 {
		return 0, &Error{Code: TooLarge, Message: fmt.Sprintf("the image file has %d bytes, this node has room for %d", length, bound), Hint: "send it as qcow2 (qemu-img convert -c), or copy it onto a volume over NBD"}
	}
	return bound, nil
}

// upload streams the body to a file. A cancelled job ends it too.
func (a *API) upload(ctx context.Context, w http.ResponseWriter, r *http.Request, in *imports, bound int64) error {
	f, err := os.OpenFile(in.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	// A client that sends nothing more must not keep a cancelled job.
	defer context.AfterFunc(ctx, func() { _ = http.NewResponseController(w).SetReadDeadline(time.Now()) })()
	body := &counted{ctx: ctx, r: http.MaxBytesReader(w, r.Body, bound), tell: func(n int64) { a.jobs.progress(in.id, n, max(r.ContentLength, 0)) }}
	n, err := io.Copy(f, body)
	if ctx.Err() != nil {
		err = &Error{Code: Failed, Message: "the job was cancelled"}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("upload ended after %d bytes: %w", n, err)
	}
	return nil
}

// counted tells how far a reader is.
type counted struct {
	ctx  context.Context // of the job, whose cancelling ends the reading
	r    io.Reader
	n    int64
	tell func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.tell(c.n)
	return n, err
}
