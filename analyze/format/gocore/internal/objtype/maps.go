package objtype

// Places in the records of maps on 64-bit machines.
const (
	// internal/runtime/maps/map.go and table.go, Go 1.24 to 1.26: Map.dirPtr, Map.dirLen, table.groups.
	mapBytes    = 48
	atDirectory = 16
	atDirLen    = 24
	tableBytes  = 32
	atGroups    = 16
	atGroupMask = 24
	// runtime/map.go up to Go 1.23: hmap.B, buckets, oldbuckets, extra; mapextra.overflow, oldoverflow, nextOverflow.
	atLogBuckets = 9
	atBuckets    = 16
	atOldBuckets = 24
	maxDirectory = 1 << 26
)

// aMap follows a pointer to a map's header.
func (t *Typer) aMap(addr uint64, d *typ, rank Rank) {
	o, at, ok := t.target(addr)
	if !ok || at != 0 || d == nil || t.heap.Size(o) != roundUp(mapBytes) {
		return
	}
	if !t.give(o, d.name, rank, mapBytes) {
		return
	}
	group := t.typeAt(d.group)
	if group == nil || group.size == 0 {
		return
	}
	if t.src.Swiss {
		t.swiss(addr, d, group, rank)
	} else {
		t.buckets(addr, group, rank)
	}
}

// swiss follows the directory of a map of Go 1.24 and later.
func (t *Typer) swiss(addr uint64, d, group *typ, rank Rank) {
	dir, ok1 := t.word(addr + atDirectory)
	n, ok2 := t.word(addr + atDirLen)
	if !ok1 || !ok2 || n > maxDirectory {
		return
	}
	if n == 0 {
		t.pointer(dir, group, rank)
		return
	}
	if o, at, ok := t.target(dir); ok && at == 0 {
		t.give(o, t.named("directory of ", d), rank, t.heap.Size(o))
	}
	last := uint64(0)
	for i := range n {
		table, ok := t.word(dir + 8*i)
		if !ok || table == last { // neighbours share a table
			continue
		}
		last = table
		t.table(table, d, group, rank)
	}
}

// table follows one table of a map.
func (t *Typer) table(table uint64, d, group *typ, rank Rank) {
	o, at, ok := t.target(table)
	if !ok || at != 0 || t.heap.Size(o) != roundUp(tableBytes) || !t.give(o, t.named("table of ", d), rank, tableBytes) {
		return
	}
	groups, ok1 := t.word(table + atGroups)
	mask, ok2 := t.word(table + atGroupMask)
	if ok1 && ok2 && mask < 1<<40 {
		t.several(groups, mask+1, group, rank)
	}
}

// several follows a pointer to one value or to many.
func (t *Typer) several(addr, n uint64, d *typ, rank Rank) {
	if n == 1 {
		t.pointer(addr, d, rank)
		return
	}
	t.slice(addr, n, d, rank)
}

// buckets follows the buckets of a map of Go 1.23 or earlier. A map with many buckets allocates some more at once, for those that will
// overflow (runtime/map.go, makeBucketArray).
func (t *Typer) buckets(addr uint64, bucket *typ, rank Rank) {
	log, ok := t.src.Mem.Uint8(addr + atLogBuckets)
	if !ok || log > 40 {
		return
	}
	for _, at := range []uint64{atBuckets, atOldBuckets} {
		buckets, ok := t.word(addr + at)
		if !ok || buckets == 0 {
			continue
		}
		n := uint64(1) << log
		if at == atOldBuckets && n > 1 {
			n /= 2
		}
		if o, at, ok := t.target(buckets); ok && at == 0 {
			n = max(n, (t.heap.Size(o)-t.heap.HeaderBytes(o))/bucket.size)
		}
		t.several(buckets, n, bucket, rank)
		t.overflow(buckets, n, bucket, rank)
	}
}

// overflow follows the chains of buckets that overflow: the last word of a bucket leads to the next.
func (t *Typer) overflow(buckets, n uint64, bucket *typ, rank Rank) {
	for i := range min(n, maxDirectory) {
		next, ok := t.word(buckets + (i+1)*bucket.size - 8)
		for steps := 0; ok && next != 0 && steps < maxNested*maxNested; steps++ {
			o, _, live := t.target(next)
			if !live || t.claims[t.heap.Number(o)].label != 0 {
				break
			}
			t.pointer(next, bucket, rank)
			next, ok = t.word(next + bucket.size - 8)
		}
	}
}
