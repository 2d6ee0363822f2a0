package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"beffroi.dev/appliance/api"
	"beffroi.dev/pkg/quorum/cluster"
)

var phases = map[string][2]string{
	"upload": {"upload", "envoi"}, "create": {"creating the group", "création du groupe"}, "wait": {"waiting for the volume", "attente du volume"}, "copy": {"copy", "copie"},
	"finish": {"creating the VM", "création de la VM"}, "clean-up": {"cleaning up", "nettoyage"}, "done": {"done", "terminé"}, "failed": {"failed", "échec"},
}

// creation is what the options of "vm create" say.
type creation struct {
	image, group, firmware, memory, size, prefer string
	cpus, nics                                   int
	stopped, noWait                              bool
}

func (p *program) vmCreate() do {
	var c creation
	p.flags.StringVar(&c.image, "image", "", "")
	p.flags.StringVar(&c.group, "group", "", "")
	p.flags.StringVar(&c.firmware, "firmware", "", "")
	p.flags.StringVar(&c.memory, "memory", "", "")
	p.flags.StringVar(&c.size, "size", "", "")
	p.flags.StringVar(&c.prefer, "prefer", "", "")
	p.flags.IntVar(&c.cpus, "cpus", 0, "")
	p.flags.IntVar(&c.nics, "nics", cluster.DefaultCards, "")
	p.flags.BoolVar(&c.stopped, "stopped", false, "")
	p.flags.BoolVar(&c.noWait, "no-wait", false, "")
	return func(ctx context.Context, args []string) error {
		if (c.image == "") == (c.group == "") {
			return p.usage("give --image FILE or --group GROUP", "donnez --image FICHIER ou --group GROUPE")
		}
		if c.nics < 0 || c.nics > cluster.MaxCards {
			return p.usage("--nics %d: a VM has 0 to %d network cards", "--nics %d : une VM a de 0 à %d cartes réseau", c.nics, cluster.MaxCards)
		}
		memoryMB := 0
		if c.memory != "" {
			n, err := parseSize(c.memory)
			if err != nil || n%(1<<20) != 0 {
				return p.usage("--memory %s: use whole megabytes, such as 512M or 4G", "--memory %s : utilisez des mégaoctets entiers, comme 512M ou 4G", c.memory)
			}
			memoryMB = int(n >> 20)
		}
		if c.group != "" {
			return p.onGroup(ctx, args[0], c, memoryMB)
		}
		return p.ofImage(ctx, args[0], c, memoryMB)
	}
}

func (p *program) onGroup(ctx context.Context, name string, c creation, memoryMB int) error {
	if c.size != "" || c.prefer != "" {
		return p.usage("--size and --prefer are of the group: they go with --image", "--size et --prefer sont du groupe : ils vont avec --image")
	}
	var v api.VM
	if err := p.client.call(ctx, "POST", "vms", api.NewVM{Name: name, Group: c.group, CPUs: c.cpus, MemoryMB: memoryMB, Firmware: c.firmware, Run: !c.stopped, NICs: &c.nics}, &v); err != nil {
		return err
	}
	if p.json {
		return p.asJSON(v)
	}
	return p.say("VM %s is created on group %s.", "La VM %s est créée sur le groupe %s.", v.Name, v.Group)
}

func (p *program) ofImage(ctx context.Context, name string, c creation, memoryMB int) error {
	q := url.Values{"name": {name}, "run": {strconv.FormatBool(!c.stopped)}, "nics": {strconv.Itoa(c.nics)}}
	set := func(key, value string) {
		if value != "" && value != "0" {
			q.Set(key, value)
		}
	}
	set("cpus", strconv.Itoa(c.cpus))
	set("memory_mb", strconv.Itoa(memoryMB))
	set("firmware", c.firmware)
	set("prefer", c.prefer)
	if c.size != "" {
		n, err := parseSize(c.size)
		if err != nil {
			return p.usage("--size %v", "--size %v", err)
		}
		set("size_bytes", strconv.FormatInt(n, 10))
	}
	f, err := os.Open(c.image)
	if err != nil {
		return p.usage("--image: %v", "--image : %v", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return p.usage("--image %s: use a file with a raw or qcow2 image", "--image %s : utilisez un fichier contenant une image brute ou qcow2", c.image)
	}
	job, err := p.upload(ctx, q, f, st.Size())
	if err != nil {
		return err
	}
	if c.noWait {
		if p.json {
			return p.asJSON(job)
		}
		return p.say("Job %d makes VM %s; beffroictl job show %[1]d tells how far it is.", "L'import %d crée la VM %s ; « beffroictl job show %[1]d » dit où il en est.", job.ID, name)
	}
	return p.follow(ctx, job)
}

// upload sends the image and shows how far it is.
func (p *program) upload(ctx context.Context, q url.Values, f io.Reader, size int64) (api.Job, error) {
	var job api.Job
	b := p.bar()
	req, err := p.client.request(ctx, "POST", "images?"+q.Encode(), io.NopCloser(&watched{r: f, bar: b, words: p.word(phases, "upload"), total: size}))
	if err != nil {
		return job, err
	}
	req.ContentLength = size
	if size == 0 {
		req.Body = nil // an unknown length is not meant
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Expect", "100-continue") // a refusal comes before the first byte
	answer, err := p.client.send(req)
	b.end()
	if err != nil {
		return job, err
	}
	if err := json.Unmarshal(answer, &job); err != nil {
		return job, &api.Error{Code: api.Failed, Message: "the answer is not that of a Beffroi node: " + err.Error()}
	}
	return job, nil
}

// follow waits for the end of a job. To leave it is no harm: the job goes on.
func (p *program) follow(ctx context.Context, job api.Job) error {
	b := p.bar()
	defer b.end()
	again := time.NewTicker(300 * time.Millisecond)
	defer again.Stop()
	for job.Ended == nil {
		b.show(p.word(phases, string(job.Phase)), job.DoneBytes, job.TotalBytes)
		select {
		case <-ctx.Done():
			b.end()
			return fmt.Errorf(p.tr("no longer waiting: job %d goes on by itself (beffroictl job show %[1]d)", "attente abandonnée : l'import %d continue seul (beffroictl job show %[1]d)"), job.ID)
		case <-again.C:
		}
		if err := p.client.call(ctx, "GET", "jobs/"+strconv.FormatUint(job.ID, 10), nil, &job); err != nil && ctx.Err() == nil {
			return err
		}
	}
	b.end()
	if p.json {
		if err := p.asJSON(job); err != nil {
			return err
		}
	}
	if job.Phase != api.PhaseDone {
		return &api.Error{Code: api.Failed, Message: job.Error, Hint: "what it created was removed"}
	}
	return p.say("VM %s is created.", "La VM %s est créée.", job.VM)
}

// bar is a progress line on a terminal; elsewhere it says each phase once.
type bar struct {
	p        *program
	terminal bool
	words    string
	from     time.Time
	last     time.Time
	open     bool // a line is begun
}

func (p *program) bar() *bar {
	f, ok := p.err.(*os.File)
	return &bar{p: p, terminal: ok && p.terminal(f)}
}

func (b *bar) show(words string, done, total int64) {
	now := b.p.now()
	if words != b.words {
		b.end()
		b.words, b.from, b.last = words, now, time.Time{}
		if !b.terminal && !b.p.json {
			fmt.Fprintln(b.p.err, words+"…")
		}
	}
	if !b.terminal || b.p.json || now.Sub(b.last) < 100*time.Millisecond && done != total {
		return
	}
	b.last, b.open = now, true
	fmt.Fprint(b.p.err, "\r\x1b[K"+b.p.barLine(words, done, total, now.Sub(b.from)))
}

const barWidth = 30

// barLine is the text of a bar.
func (p *program) barLine(words string, done, total int64, took time.Duration) string {
	if total <= 0 {
		return words + "…"
	}
	part := float64(done) / float64(total)
	full := min(int(part*barWidth), barWidth)
	line := fmt.Sprintf("%s [%s%s] %d%% %s / %s", words, strings.Repeat("#", full), strings.Repeat(" ", barWidth-full), int(100*part), p.size(done), p.size(total))
	if took >= time.Second && done > 0 {
		line += fmt.Sprintf(", %s/s", p.size(int64(float64(done)/took.Seconds())))
	}
	return line
}

func (b *bar) end() {
	if b.open {
		fmt.Fprintln(b.p.err)
		b.open = false
	}
}

// watched tells a bar how far a reader is.
type watched struct {
	r           io.Reader
	bar         *bar
	words       string
	done, total int64
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.done += int64(n)
	w.bar.show(w.words, w.done, w.total)
	return n, err
}
