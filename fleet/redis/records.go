package redis

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/redis/rueidis"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

// longestLog is about how many entries the log has at most: what happens within them, a
// node that was away learns without loading everything.
const longestLog = "10000"

// Publish implements [fleet.Engine].
func (e *engine) Publish(ctx context.Context, records ...fleet.Record) error {
	if len(records) == 0 {
		return nil
	}
	ctx, cancel := patience(ctx)
	defer cancel()
	args := make([]string, 0, 2+4*len(records))
	args = append(args, e.prefix, longestLog)
	var keys []string
	for _, record := range records {
		kept := "1"
		if record.Data == nil {
			kept = "0"
		}
		args = append(args, record.Kind, record.ID, kept, string(record.Data))
		if key := e.prefix + "records:" + record.Kind; !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	_, err := call(ctx, e, keys, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, e.scripts.publish.Exec(ctx, e.client, []string{e.prefix + "nodes"}, args).Error()
	})
	return err
}

// Load implements [fleet.Engine]. What changes while the records are read is behind the
// position.
func (e *engine) Load(ctx context.Context) (records []fleet.Record, position string, fresh bool, err error) {
	ctx, cancel := patience(ctx)
	defer cancel()
	parts, err := call(ctx, e, nil, func(ctx context.Context) ([]rueidis.RedisMessage, error) {
		return e.scripts.load.Exec(ctx, e.client, []string{e.prefix + "nodes"}, []string{e.prefix}).ToArray()
	})
	if err != nil {
		return nil, "", false, err
	}
	if len(parts) != 3 {
		return nil, "", false, errAnswer
	}
	position, err1 := parts[0].ToString()
	empty, err2 := parts[1].AsInt64()
	kinds, err3 := parts[2].AsStrSlice()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, "", false, errors.Join(errAnswer, err)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		of, err := e.loadKind(ctx, kind)
		if err != nil {
			return nil, "", false, err
		}
		records = append(records, of...)
	}
	return records, position, empty == 1, nil
}

// loadKind returns the records of a kind, by their IDs.
func (e *engine) loadKind(ctx context.Context, kind string) ([]fleet.Record, error) {
	key := e.prefix + "records:" + kind
	found := make(map[string]string) // a scan may return an element twice
	for cursor := uint64(0); ; {
		entry, err := call(ctx, e, []string{key}, func(ctx context.Context) (rueidis.ScanEntry, error) {
			return e.client.Do(ctx, e.client.B().Hscan().Key(key).Cursor(cursor).Count(1000).Build()).AsScanEntry()
		})
		if err != nil {
			return nil, err
		}
		for pair := range slices.Chunk(entry.Elements, 2) {
			if len(pair) == 2 {
				found[pair[0]] = pair[1]
			}
		}
		if cursor = entry.Cursor; cursor == 0 {
			break
		}
	}
	records := make([]fleet.Record, 0, len(found))
	for id, data := range found {
		records = append(records, fleet.Record{Kind: kind, ID: id, Data: []byte(data)})
	}
	slices.SortFunc(records, func(a, b fleet.Record) int { return cmp.Compare(a.ID, b.ID) })
	return records, nil
}
