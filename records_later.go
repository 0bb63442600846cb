package wsgateway

import "sync"

// laterWrites are records that were learned from the fleet and are to be written to
// Caddy's storage, beside whatever has learned them. The last of each record counts.
type laterWrites struct {
	mu      sync.Mutex
	records map[recordName][]byte // no data: to be deleted
	writing bool
}

type recordName struct{ kind, id string }

// add has write called with the record soon, in a goroutine that writes one record after
// the other.
func (l *laterWrites) add(name recordName, data []byte, write func(recordName, []byte)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.records == nil {
		l.records = make(map[recordName][]byte)
	}
	l.records[name] = data
	if !l.writing {
		l.writing = true
		go l.run(write)
	}
}

// drop has a record not be written that has not been begun with: it is older than what is
// written instead.
func (l *laterWrites) drop(name recordName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.records, name)
}

// run writes what there is until there is nothing.
func (l *laterWrites) run(write func(recordName, []byte)) {
	defer contain(nil)
	for name, data, ok := l.take(); ok; name, data, ok = l.take() {
		writeContained(write, name, data)
	}
}

func writeContained(write func(recordName, []byte), name recordName, data []byte) {
	defer contain(nil)
	write(name, data)
}

// take returns one that is to be written, false where there is none and the writer has to
// end.
func (l *laterWrites) take() (name recordName, data []byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, data = range l.records {
		delete(l.records, name)
		return name, data, true
	}
	l.records, l.writing = nil, false // of a map that was large, nothing is left
	return name, nil, false
}
