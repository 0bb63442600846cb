package redis

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestCaddyfile(t *testing.T) {
	for input, want := range map[string]Redis{
		"redis redis://a":                     {URLs: []string{"redis://a"}},
		"redis {env.ONE} rediss://b:1/0 {\n}": {URLs: []string{"{env.ONE}", "rediss://b:1/0"}},
		`redis redis://a {
			node "north 1"
			prefix chat
			heartbeat 5s
			timeout 20ms
			secret {env.SECRET}
			on_outage closed
		}`: {
			URLs: []string{"redis://a"}, Node: "north 1", Prefix: "chat", Secret: "{env.SECRET}", OnOutage: "closed",
			Heartbeat: caddy.Duration(5 * time.Second), Timeout: caddy.Duration(20 * time.Millisecond),
		},
	} {
		var got Redis
		if err := got.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", input, got, err)
		}
	}
}

func TestCaddyfileErrors(t *testing.T) {
	block := func(words string) string { return "redis redis://:geheim@a {\n" + words + "\n}" }
	for input, want := range map[string]string{
		"redis":                              "an argument is missing: fleet redis <url...>",
		"redis http://:geheim@a":             "URL 1 does not begin with redis:// or rediss://",
		"redis redis://a redis://:geh%eim@b": "URL 2 is no URL",
		block("nodes a"):                     `unknown word "nodes" in fleet redis: allowed are heartbeat, node, on_outage, prefix, secret, timeout`,
		block("node a\nnode b"):              "node is already set: it may stand once",
		block("node"):                        "an argument is missing: node <name>",
		block("node a b"):                    "too many arguments: node <name>; what has blanks needs quotes",
		block("node \"\""):                   "node is empty: node <name>, or leave it out",
		block("node a {\nb\n}"):              "a block is not expected here: node <name>",
		block("node a {\n}"):                 "a block is not expected here: node <name>",
		block("heartbeat 3"):                 `heartbeat: "3" has no unit: write 3s or 3ms`,
		block("heartbeat soon"):              `heartbeat: "soon" is not a duration`,
		block("heartbeat 100ms"):             "heartbeat must be from 500ms to 1m0s, got 100ms",
		block("timeout 0s"):                  "timeout must be from 1ms to 1m0s, got 0s",
		block("on_outage open"):              `on_outage must be local or closed, got "open"`,
	} {
		err := new(Redis).UnmarshalCaddyfile(caddyfile.NewTestDispenser(input))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: got %v, want %s", input, err, want)
		}
	}
}

// provision provisions and validates a configuration.
func provision(t *testing.T, r *Redis) error {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	if err := r.Provision(ctx); err != nil {
		return err
	}
	return r.Validate()
}

func TestConfigurationErrors(t *testing.T) {
	t.Setenv("EMPTY", "")
	t.Setenv("BAD_URL", "geheim")
	a := []string{"redis://:geheim@a"}
	for want, r := range map[string]Redis{
		"urls: there is no URL":                                 {},
		"urls: URL 1 does not begin with redis://":              {URLs: []string{"geheim"}},
		"URL 1 does not begin with redis:// or rediss:// (TLS)": {URLs: []string{"{env.BAD_URL}"}},
		"urls: URL 1: ":                                          {URLs: []string{"{env.EMPTY}"}},
		"urls: URL 1 has no host":                                {URLs: []string{"redis://"}},
		"urls: URL 1 has a # in it":                              {URLs: []string{"redis://a#geheim"}},
		"urls: URL 1 has a port that is none":                    {URLs: []string{"redis://a:99999"}},
		"urls: URL 1 has a wrong path":                           {URLs: []string{"redis://:geheim@a/x"}},
		`unknown parameter "max": allowed are addr, db`:          {URLs: []string{"redis://a?max=1"}},
		"names what sentinels want, but no master_set":           {URLs: []string{"redis://a?sentinel_user=x"}},
		"urls: URLs 1 and 2 have different schemes":              {URLs: []string{"redis://a", "rediss://b"}},
		"urls: URLs 1 and 2 have different users or passwords":   {URLs: []string{"redis://a", "redis://:geheim@b"}},
		"urls: URLs 1 and 2 have different databases":            {URLs: []string{"redis://a", "redis://b/1"}},
		"urls: URLs 1 and 2 have a different master_set":         {URLs: []string{"redis://a?master_set=m", "redis://b"}},
		"urls: a cluster has database 0 only":                    {URLs: []string{"redis://a/1", "redis://b/1"}},
		"heartbeat must be from 500ms to 1m0s, got 499ms":        {URLs: a, Heartbeat: caddy.Duration(499 * time.Millisecond)},
		"heartbeat must be from 500ms to 1m0s, got 1m1s":         {URLs: a, Heartbeat: caddy.Duration(61 * time.Second)},
		"timeout must be from 1ms to the heartbeat (3s), got 4s": {URLs: a, Timeout: caddy.Duration(4 * time.Second)},
		"timeout must be from 1ms to the heartbeat (3s), got -1": {URLs: a, Timeout: -1e9},
		`on_outage must be local or closed, got "open"`:          {URLs: a, OnOutage: "open"},
		"must have no braces and no blanks":                      {URLs: a, Prefix: "a b"},
		"prefix has 101 bytes: shorten it to 100":                {URLs: a, Prefix: strings.Repeat("a", 101)},
		"prefix \"a\\nb\" has characters that cannot be printed": {URLs: a, Prefix: "a\nb"},
		"node has 101 bytes: shorten it to 100":                  {URLs: a, Node: strings.Repeat("a", 101)},
		"node \"a\\x00b\" has characters":                        {URLs: a, Node: "a\x00b"},
		"secret: ":                                               {URLs: a, Secret: "{env.EMPTY}"},
	} {
		err := provision(t, &r)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Setenv("ONE", "redis://:geheim@one")
	read := func(config string) *Redis {
		t.Helper()
		r := new(Redis)
		if err := json.Unmarshal([]byte(config), r); err != nil {
			t.Fatal(err)
		}
		if err := provision(t, r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	plain := read(`{"urls": ["{env.ONE}"]}`)
	s := plain.Settings()
	if s.Node == "" || s.Heartbeat != 3*time.Second || s.Timeout != 50*time.Millisecond || s.Closed || len(s.Secret) != 32 {
		t.Errorf("by default: %+v", s)
	}
	if !slices.Equal(plain.options.InitAddress, []string{"one:6379"}) || plain.options.Password != "geheim" {
		t.Errorf("options: %+v", plain.options)
	}
	secrets := []string{
		string(s.Secret),
		string(read(`{"urls": ["{env.ONE}"], "prefix": "other"}`).Settings().Secret),
		string(read(`{"urls": ["redis://:other@one"]}`).Settings().Secret),
		string(read(`{"urls": ["{env.ONE}"], "secret": "mine"}`).Settings().Secret),
	}
	slices.Sort(secrets)
	if len(slices.Compact(secrets)) != 4 {
		t.Errorf("secrets are not different: %q", secrets)
	}
	if again := read(`{"urls": ["{env.ONE}", "redis://:geheim@two"], "node": "x"}`).Settings(); string(again.Secret) != string(s.Secret) || again.Node != "x" {
		t.Errorf("on another node: %+v", again)
	}
	if !read(`{"urls": ["{env.ONE}"], "on_outage": "closed"}`).Settings().Closed {
		t.Error("not closed")
	}
}

func TestURLs(t *testing.T) {
	option, err := parseURLs([]string{"rediss://u:p%40@a:1?master_set=m&sentinel_user=x&sentinel_password=y", "rediss://u:p%40@b?master_set=m"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(option.InitAddress, []string{"a:1", "b:26379"}) || option.Password != "p@" || option.Username != "u" {
		t.Errorf("got %+v", option)
	}
	if option, err := parseURLs([]string{"redis://a/3"}); err != nil || option.SelectDB != 3 {
		t.Errorf("got %+v, %v", option, err)
	}
	s := option.Sentinel
	if s.MasterSet != "m" || s.Username != "x" || s.Password != "y" || s.TLSConfig == nil || option.TLSConfig == nil {
		t.Errorf("sentinels: %+v", s)
	}
	if option, err := parseURLs([]string{"redis://[::1]?addr=c:2"}); err != nil || option.TLSConfig != nil ||
		!slices.Equal(option.InitAddress, []string{"[::1]:6379", "c:2"}) {
		t.Errorf("got %+v, %v", option, err)
	}
}
