package redis

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/enginetest"
	"github.com/wsgateway/caddy-ws-gateway/internal/redistest"
)

// testClock lets the scripts go by a key.
const testClock = "local now = tonumber(redis.call('GET', prefix .. 'clock'))\n"

// prefixes numbers the prefixes of tests that share a server.
var prefixes atomic.Int64

// options returns how to connect to a URL, with as much time for an answer as a slow
// machine needs.
func options(t testing.TB, urls ...string) rueidis.ClientOption {
	t.Helper()
	options, err := parseURLs(urls)
	if err != nil {
		t.Fatal(err)
	}
	options.ConnWriteTimeout = 10 * time.Second
	options.Dialer.Timeout = 10 * time.Second
	return options
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// mustOpen opens an engine that is closed when the test ends.
func mustOpen(t testing.TB, options rueidis.ClientOption, prefix string, scripts scripts) *engine {
	t.Helper()
	e, err := open(testContext(t), options, prefix, scripts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// start returns where clocks of tests begin: before that, the server would expire keys.
func start() time.Time { return time.Now().Truncate(time.Millisecond) }

// rig returns a rig whose clock stands, and passes on command only.
func rig(t *testing.T, server *redistest.Server, now time.Time) enginetest.Rig {
	prefix := "test" + strconv.FormatInt(prefixes.Add(1), 10)
	set := func() { server.Do("SET", "{"+prefix+"}:clock", strconv.FormatInt(now.UnixMicro(), 10)) }
	set()
	return enginetest.Rig{
		Open: func() fleet.Engine { return mustOpen(t, options(t, server.URL("", "")), prefix, newScripts(testClock)) },
		Advance: func(d time.Duration) {
			now = now.Add(d)
			set()
		},
		Flush: func() {
			server.Do("FLUSHALL")
			set()
		},
	}
}

func TestEngine(t *testing.T) {
	server := redistest.Start(t)
	enginetest.Run(t, func(t *testing.T) enginetest.Rig { return rig(t, server, start()) })
}

func TestEngineInCluster(t *testing.T) {
	server := redistest.Cluster(t)
	enginetest.Run(t, func(t *testing.T) enginetest.Rig { return rig(t, server, start()) })
}

func TestScriptsGoByTheServersClock(t *testing.T) {
	server := redistest.Start(t)
	e := mustOpen(t, options(t, server.URL("", "")), "p", newScripts(clockLua))
	before := time.Now().Add(-time.Second) // the clocks are one, but for rounding
	share := &fleet.Share{Node: "a", Seq: 1, Beat: fleet.Beat{Void: time.Hour}}
	if err := e.Assert(testContext(t), share); err != nil {
		t.Fatal(err)
	}
	answer, err := e.Exchange(testContext(t), &fleet.Batch{Node: "a", Seq: 2, Last: 1, Beat: &fleet.Beat{Void: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	if seen := answer.Nodes[0].Seen; seen.Before(before) || seen.After(time.Now().Add(time.Second)) {
		t.Fatalf("seen at %v, which is not between %v and now", seen, before)
	}
}

func TestShareExpiresByItself(t *testing.T) {
	server := redistest.Start(t)
	e := mustOpen(t, options(t, server.URL("", "")), "p", newScripts(clockLua))
	share := &fleet.Share{Node: "a", Seq: 1, Counts: map[string]int{"k": 1}, Beat: fleet.Beat{Void: 50 * time.Millisecond}}
	if err := e.Assert(testContext(t), share); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ctx := testContext(t)
	for server.Do("EXISTS", "{p}:node:a") != int64(0) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the share is still there")
		}
	}
}

func TestAllKeysAreUnderTheHashTag(t *testing.T) {
	server := redistest.Start(t)
	e := mustOpen(t, options(t, server.URL("", "")), "p", newScripts(clockLua))
	counts := make(map[string]int)
	for i := range mostAtOnce + 1 {
		counts[strconv.Itoa(i)] = 1
	}
	if err := e.Assert(testContext(t), &fleet.Share{Node: "a", Seq: 1, Counts: counts, Beat: fleet.Beat{Void: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	batch := &fleet.Batch{Node: "a", Seq: 2, Last: 1, Knocks: []fleet.Knock{{Key: "r", Every: time.Hour, Burst: 1}}, Beat: &fleet.Beat{Void: time.Hour}}
	if _, err := e.Exchange(testContext(t), batch); err != nil {
		t.Fatal(err)
	}
	if err := e.Publish(testContext(t), fleet.Record{Kind: "k", ID: "i", Data: []byte("d")}); err != nil {
		t.Fatal(err)
	}
	keys, _ := server.Do("KEYS", "*").([]any)
	if len(keys) != 6 {
		t.Errorf("keys: %v", keys)
	}
	for _, key := range keys {
		if key, _ := key.(string); !strings.HasPrefix(key, "{p}:") || strings.HasPrefix(key, "{p}:part:") {
			t.Errorf("key %q", key)
		}
	}
}
