package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	maxJobs    = 64 // remembered: some months of imports
	maxRunning = 2  // imports at a time: more only take the disk from each other
)

// jobs is the list of what takes time.
type jobs struct {
	mu   sync.Mutex // guards next, list
	next uint64
	list []*entry // oldest first
}

type entry struct {
	job    Job
	cancel context.CancelFunc
}

// newJobs counts from the time of day, so that the numbers of two lives of the
// service differ.
func newJobs() *jobs { return &jobs{next: uint64(time.Now().Unix())} }

// begin enters a job; its name is taken while it runs.
func (j *jobs) begin(job Job, cancel context.CancelFunc) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	running := 0
	for _, e := range j.list {
		if e.job.Ended != nil {
			continue
		}
		if running++; e.job.VM == job.VM {
			return 0, &Error{Code: Refused, Message: fmt.Sprintf("job %d is making VM %s already", e.job.ID, job.VM), Hint: "look at jobs, or cancel it"}
		}
	}
	if running >= maxRunning {
		return 0, &Error{Code: Unavailable, Message: fmt.Sprintf("%d imports run already, the most at a time", running), Hint: "wait for one of them; jobs lists them"}
	}
	j.next++
	job.ID, job.Started = j.next, time.Now().UTC()
	if len(j.list) >= maxJobs {
		i := slices.IndexFunc(j.list, func(e *entry) bool { return e.job.Ended != nil })
		j.list = slices.Delete(j.list, i, i+1) // there is one: few run
	}
	j.list = append(j.list, &entry{job, cancel})
	return job.ID, nil
}

// update changes a job that runs.
func (j *jobs) update(id uint64, f func(*Job)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.list {
		if e.job.ID == id && e.job.Ended == nil {
			f(&e.job)
		}
	}
}

// phase enters a phase of a known length; 0 if it has none.
func (j *jobs) phase(id uint64, p Phase, total int64) {
	j.update(id, func(job *Job) { job.Phase, job.Percent, job.DoneBytes, job.TotalBytes = p, 0, 0, total })
}

func (j *jobs) progress(id uint64, done, total int64) {
	j.update(id, func(job *Job) {
		job.DoneBytes, job.TotalBytes = done, total
		if total > 0 {
			job.Percent = int(100 * float64(done) / float64(total))
		}
	})
}

// end ends a job, well or not.
func (j *jobs) end(id uint64, err error) {
	j.update(id, func(job *Job) {
		now := time.Now().UTC()
		job.Phase, job.Percent, job.Ended = PhaseDone, 100, &now
		if err != nil {
			job.Phase, job.Percent, job.Error = PhaseFailed, 0, err.Error()
		}
	})
}

func (j *jobs) all() []Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]Job, 0, len(j.list))
	for _, e := range j.list {
		list = append(list, e.job)
	}
	return list
}

func (j *jobs) find(id uint64) (Job, context.CancelFunc, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.list {
		if e.job.ID == id {
			return e.job, e.cancel, true
		}
	}
	return Job{}, nil, false
}

func (a *API) listJobs(w http.ResponseWriter, _ *http.Request, _ caller) error {
	write(w, http.StatusOK, a.jobs.all())
	return nil
}

func (a *API) job(r *http.Request) (Job, context.CancelFunc, error) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		return Job{}, nil, badInput("job %.30q: use its number", r.PathValue("id"))
	}
	job, cancel, ok := a.jobs.find(id)
	if !ok {
		return Job{}, nil, notFound("job", r.PathValue("id"), "jobs")
	}
	return job, cancel, nil
}

func (a *API) oneJob(w http.ResponseWriter, r *http.Request, _ caller) error {
	job, _, err := a.job(r)
	if err != nil {
		return err
	}
	write(w, http.StatusOK, job)
	return nil
}

func (a *API) cancelJob(w http.ResponseWriter, r *http.Request, who caller) error {
	job, cancel, err := a.job(r)
	if err != nil {
		return err
	}
	if job.Ended != nil {
		write(w, http.StatusOK, Changed{})
		return nil
	}
	cancel()
	a.log.Info("change", "user", who.name, "role", who.role, "from", who.from, "what", "cancel job", "job", job.ID)
	write(w, http.StatusOK, Changed{true})
	return nil
}
