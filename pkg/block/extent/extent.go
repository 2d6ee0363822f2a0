package extent

const (
	pageBlocks = 512  // 2 MiB of volume a page
	dirPages   = 1024 // 2 GiB of volume a directory
)

// page holds the entries of pageBlocks blocks; loc 0 is unmapped.
type page struct {
	gen  uint64
	used int
	loc  [pageBlocks]uint64
	sum  [pageBlocks]uint32
}

type directory struct {
	gen   uint64
	pages [dirPages]*page
}

// Map is the extent map of one volume. The zero value is empty and ready.
type Map struct {
	gen    uint64 // pages of another generation are shared with a snapshot
	dirs   []*directory
	mapped uint64
}

// Released is called with each block of the device that the map no longer needs.
type Released func(loc uint64)

// Get returns where block lba lies and its checksum; loc is 0 when unmapped.
func (m *Map) Get(lba uint64) (loc uint64, sum uint32) {
	p := m.find(lba)
	if p == nil {
		return 0, 0
	}
	return p.loc[lba%pageBlocks], p.sum[lba%pageBlocks]
}

func (m *Map) find(lba uint64) *page {
	d := lba / (pageBlocks * dirPages)
	if d >= uint64(len(m.dirs)) || m.dirs[d] == nil {
		return nil
	}
	return m.dirs[d].pages[lba/pageBlocks%dirPages]
}

// own returns a page that this map alone may change.
func (m *Map) own(lba uint64) *page {
	d := lba / (pageBlocks * dirPages)
	for uint64(len(m.dirs)) <= d {
		m.dirs = append(m.dirs, nil)
	}
	dir := m.dirs[d]
	switch {
	case dir == nil:
		dir = &directory{gen: m.gen}
		m.dirs[d] = dir
	case dir.gen != m.gen:
		c := *dir
		c.gen = m.gen
		dir = &c
		m.dirs[d] = dir
	}
	slot := &dir.pages[lba/pageBlocks%dirPages]
	switch p := *slot; {
	case p == nil:
		*slot = &page{gen: m.gen}
	case p.gen != m.gen:
		c := *p
		c.gen = m.gen
		*slot = &c
	}
	return *slot
}

// Set maps len(sums) blocks from lba to consecutive places from loc.
func (m *Map) Set(lba, loc uint64, sums []uint32, released Released) {
	for i, sum := range sums {
		p := m.own(lba + uint64(i))
		e := (lba + uint64(i)) % pageBlocks
		if old := p.loc[e]; old != 0 {
			released(old)
		} else {
			p.used++
			m.mapped++
		}
		p.loc[e], p.sum[e] = loc+uint64(i), sum
	}
}

// Unset unmaps count blocks from lba.
func (m *Map) Unset(lba, count uint64, released Released) {
	for end := lba + count; lba < end; {
		p := m.find(lba)
		next := (lba/pageBlocks + 1) * pageBlocks
		if p == nil || p.used == 0 {
			lba = next
			continue
		}
		p = m.own(lba)
		for ; lba < min(end, next); lba++ {
			if old := p.loc[lba%pageBlocks]; old != 0 {
				released(old)
				p.loc[lba%pageBlocks], p.sum[lba%pageBlocks] = 0, 0
				p.used--
				m.mapped--
			}
		}
	}
}

// Mapped is the number of blocks that hold space.
func (m *Map) Mapped() uint64 { return m.mapped }

// Each calls f for every mapped block in ascending order until f returns false.
func (m *Map) Each(f func(lba, loc uint64, sum uint32) bool) {
	for d, dir := range m.dirs {
		if dir == nil {
			continue
		}
		for i, p := range dir.pages {
			if p == nil || p.used == 0 {
				continue
			}
			base := (uint64(d)*dirPages + uint64(i)) * pageBlocks
			for e, loc := range p.loc {
				if loc != 0 && !f(base+uint64(e), loc, p.sum[e]) {
					return
				}
			}
		}
	}
}

// Run returns the longest run of blocks from lba, at most limit, that are all
// mapped or all unmapped.
func (m *Map) Run(lba, limit uint64) (count uint64, mapped bool) {
	first, _ := m.Get(lba)
	mapped = first != 0
	for count < limit {
		p := m.find(lba + count)
		if (p == nil || p.used == 0) && !mapped {
			count = min(limit, (lba+count)/pageBlocks*pageBlocks+pageBlocks-lba)
			continue
		}
		if p == nil || (p.loc[(lba+count)%pageBlocks] != 0) != mapped {
			break
		}
		count++
	}
	return count, mapped
}

// Snapshot returns a copy that shares all pages with m. The copy must not be
// changed; m goes on.
func (m *Map) Snapshot() *Map {
	s := &Map{gen: m.gen, dirs: append([]*directory(nil), m.dirs...), mapped: m.mapped}
	m.gen++
	return s
}
