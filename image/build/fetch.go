package build

import (
	"context"
	"time"
)

// tellEvery is how often progress of the downloads is told, at most.
const tellEvery = 3 * time.Second

// fetch makes sure that the cache holds every package of the lock. What has to come
// over the network may take minutes, and says how far it is; what lies in the cache
// already is worth one line.
func (b *builder) fetch(ctx context.Context, every time.Duration) error {
	var all, done, here, fetched int64 // here: of the package that is coming
	for _, p := range b.lock.Packages {
		all += p.Size
	}
	b.say("packages: %d of Debian %s", len(b.lock.Packages), b.lock.Release)
	count, told := 0, time.Now()
	cache := b.cache
	cache.Arrived = func(bytes int) {
		here, fetched = here+int64(bytes), fetched+int64(bytes)
		if time.Since(told) >= every {
			told = time.Now()
			b.say("packages: %d of %d, %d of %d MB", count, len(b.lock.Packages), (done+here)/1e6, all/1e6)
		}
	}
	for _, p := range b.lock.Packages {
		here = 0
		if _, err := cache.Fetch(ctx, p); err != nil {
			return err
		}
		count, done = count+1, done+p.Size
	}
	if fetched > 0 {
		b.say("packages: all here, %d MB were fetched", fetched/1e6)
	}
	return nil
}
