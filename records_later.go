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

// run writes what there is until there is nothing.
func (l *laterWrites) run(write func(recordName, []byte)) {
	defer contain(nil)
	for records := l.take(); records != nil; records = l.take() {
		for name, data := range records {
			writeContained(write, name, data)
		}
	}
}

func writeContained(write func(recordName, []byte), name recordName, data []byte) {
	defer contain(nil)
	write(name, data)
}

// take returns what is to be written, nil where that is nothing and the writer has to end.
func (l *laterWrites) take() map[recordName][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	records := l.records
	l.records = nil
	l.writing = records != nil
	return records
}
