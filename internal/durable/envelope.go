package durable

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// The keys of a storage, and what they begin and end with.
const (
	root    = "ws_gateway"
	nodes   = "nodes"   // journals, in the place of a shelf
	damaged = "damaged" // what could not be read, likewise
	suffix  = ".json"   // a storage of files may leave unfinished ones without it
	maxID   = 200       // names of files have a limit
	firsts  = "0123456789abcdefghijklmnopqrstuvwxyz"
)

// version is that of the envelopes and of the journals.
const version = 1

// errNewer is what open returns for the envelope of a later version.
var errNewer = errors.New("it was written by a later version")

// errDamaged is what is wrong with what was loaded, and not with loading.
var errDamaged = errors.New("it is damaged")

// ref names a record.
type ref struct {
	Shelf string `json:"shelf"`
	ID    string `json:"id"`
}

func (r ref) key() string { return shard(r.Shelf, r.ID[:1]) + "/" + r.ID + suffix }

// shard returns the prefix of the records whose ids begin with first.
func shard(shelf, first string) string { return root + "/" + shelf + "/" + first }

// fits reports whether id can be part of a key.
func fits(id string) bool {
	return id != "" && len(id) <= maxID && strings.Trim(id, firsts) == ""
}

// seal returns the envelope of a record, which is JSON, and the record as it is in
// there.
func seal(data []byte) (sealed, record []byte, err error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return nil, nil, fmt.Errorf("the record is not JSON: %w", err)
	}
	record = compact.Bytes()
	return fmt.Appendf(nil, `{"version":%d,"sum":%q,"record":%s}`, version, sum(record), record), record, nil
}

// open returns the record of an envelope.
func open(sealed []byte) ([]byte, error) {
	var e struct {
		Version int             `json:"version"`
		Sum     json.RawMessage `json:"sum"`
		Record  json.RawMessage `json:"record"`
	}
	if err := json.Unmarshal(sealed, &e); err != nil {
		return nil, fmt.Errorf("%w: it is no JSON object with a version", errDamaged)
	}
	if e.Version > version {
		return nil, errNewer
	}
	var record bytes.Buffer
	if err := json.Compact(&record, e.Record); err != nil {
		return nil, fmt.Errorf("%w: it has no record", errDamaged)
	}
	if e.Version < version || string(e.Sum) != `"`+sum(record.Bytes())+`"` {
		return nil, fmt.Errorf("%w: its sum is another one", errDamaged)
	}
	return record.Bytes(), nil
}

func sum(record []byte) string {
	hash := sha256.Sum256(record)
	return hex.EncodeToString(hash[:8])
}
