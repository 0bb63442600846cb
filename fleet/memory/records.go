package memory

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

// longestLog is how many entries the log has at most.
const longestLog = 10_000

// mostRecords is how many records a beat is told at most.
const mostRecords = 1_000

// recordName is what a record is known by.
type recordName struct{ kind, id string }

// entry is an entry of the log.
type entry struct {
	position uint64
	record   *fleet.Record // nil where the entry is there for its position only
}

func (f *Fleet) add(record *fleet.Record) {
	f.logged++
	f.log = append(f.log, entry{f.logged, record})
	if surplus := len(f.log) - longestLog; surplus > 0 {
		f.log = slices.Delete(f.log, 0, surplus)
	}
}

// Publish implements [fleet.Engine].
func (e *engine) Publish(ctx context.Context, records ...fleet.Record) error {
	records = slices.Clone(records)
	for i := range records {
		records[i].Data = bytes.Clone(records[i].Data)
	}
	return e.do(ctx, func() {
		f := e.fleet
		for i := range records {
			name := recordName{records[i].Kind, records[i].ID}
			if records[i].Data == nil {
				delete(f.records, name)
			} else {
				f.records[name] = records[i].Data
			}
			f.add(&records[i])
		}
	})
}

// Load implements [fleet.Engine].
func (e *engine) Load(ctx context.Context) (records []fleet.Record, position string, fresh bool, err error) {
	var all []fleet.Record
	var last uint64
	var empty bool
	err = e.do(ctx, func() {
		f := e.fleet
		if empty = len(f.log) == 0; empty {
			f.add(nil)
		}
		last = f.logged
		for name, data := range f.records {
			all = append(all, fleet.Record{Kind: name.kind, ID: name.id, Data: bytes.Clone(data)})
		}
	})
	if err != nil {
		return nil, "", false, err
	}
	slices.SortFunc(all, func(a, b fleet.Record) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	return all, strconv.FormatUint(last, 10), empty, nil
}

// since returns the records after a position of the log.
func (f *Fleet) since(after string) (records []fleet.Record, position string, gap bool) {
	if after == "" {
		return nil, "", false
	}
	last, err := strconv.ParseUint(after, 10, 64)
	at, found := slices.BinarySearchFunc(f.log, last, func(e entry, position uint64) int {
		return cmp.Compare(e.position, position)
	})
	if err != nil || !found {
		return nil, after, true
	}
	rest := f.log[at:]
	rest = rest[:min(len(rest), 1+mostRecords)]
	for _, entry := range rest[1:] {
		if entry.record != nil {
			record := *entry.record
			record.Data = bytes.Clone(record.Data)
			records = append(records, record)
		}
	}
	return records, strconv.FormatUint(rest[len(rest)-1].position, 10), false
}
