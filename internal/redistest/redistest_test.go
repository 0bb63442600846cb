package redistest

import (
	"strings"
	"testing"
)

func TestServerForgetsWhenItIsRestarted(t *testing.T) {
	s := Start(t)
	s.Do("SET", "key", "a\r\nb")
	if got := s.Do("GET", "key"); got != "a\r\nb" {
		t.Fatalf("got %q", got)
	}
	addr := s.Addr
	s.Restart()
	if got := s.Do("GET", "key"); got != nil || s.Addr != addr {
		t.Fatalf("after a restart: %q on %s, not on %s", got, s.Addr, addr)
	}
}

func TestServerTakesArguments(t *testing.T) {
	s := Start(t, "--maxmemory", "123456789")
	got, _ := s.Do("CONFIG", "GET", "maxmemory").([]any)
	if len(got) != 2 || got[1] != "123456789" {
		t.Fatalf("got %v", got)
	}
}

func TestClusterHasAllSlots(t *testing.T) {
	s := Cluster(t)
	info, _ := s.Do("CLUSTER", "INFO").(string)
	if !strings.Contains(info, "cluster_slots_assigned:16384") {
		t.Fatal(info)
	}
	s.Do("SET", "any", "1")
}
