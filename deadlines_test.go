package wsgateway

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestAgesAreDrawnEvenlyWithinTheJitter(t *testing.T) {
	t.Parallel()
	const age = time.Hour
	for name, row := range map[string]struct {
		jitter *float64
		within float64
	}{
		"10 % where nothing is said": {nil, 0.1},
		"as it is said":              {new(25.0), 0.25},
		"all of it":                  {new(100.0), 1},
		"none":                       {new(0.0), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &MaxAge{Duration: caddy.Duration(age), JitterPercent: row.jitter}
			if err := m.validate(); err != nil {
				t.Fatal(err)
			}
			parts := make([]int, 10)
			for range 10000 {
				off := float64(m.draw()-age) / float64(age)
				if math.Abs(off) > row.within+1e-9 {
					t.Fatalf("an age is %.3f off, more than %.3f", off, row.within)
				}
				if row.within > 0 {
					parts[min(9, int(10*(off/row.within+1)/2))]++
				}
			}
			if row.within > 0 && (slices.Min(parts) < 800 || slices.Max(parts) > 1200) {
				t.Errorf("ages bunch: %v", parts)
			}
		})
	}
}

// only is the one connection that the registry holds.
func only(t *testing.T, g *registry) *connection {
	t.Helper()
	all := g.list(func(*connection) bool { return true })
	if len(all) != 1 {
		t.Fatalf("the registry holds %d connections", len(all))
	}
	return all[0]
}

func TestConnectionIsEndedWhenItIsOldEnough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRegistry()
		_ = g.join("a:1")
		client, backend := open(t, g, "a:1", "a:1", 0)
		g.deadlines.add(only(t, g), time.Now().Add(time.Hour))
		elapse(time.Hour - time.Second)
		synctest.Wait()
		select {
		case code := <-client.code:
			t.Fatalf("ended with %d before its time", code)
		default:
		}
		elapse(time.Second)
		if code := <-client.code; code != 1012 {
			t.Errorf("the client got %d, want 1012", code)
		}
		if code := <-backend.code; code != 1001 {
			t.Errorf("the upstream got %d, want 1001", code)
		}
		synctest.Wait()
		if n := len(g.deadlines.queue); n != 0 {
			t.Errorf("%d deadlines are left", n)
		}
	})
}

// Each ends in its own second, in whatever order the deadlines come and however
// many connections are over before theirs.
func TestEachConnectionIsEndedAtItsOwnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		g := newRegistry()
		_ = g.join("a:1")
		start := time.Now()
		order := rand.New(rand.NewPCG(5, 5)).Perm(n)
		known := make(map[*connection]bool)
		type end struct {
			code int
			at   time.Duration
		}
		ends := make([]chan end, n)
		for _, i := range order {
			client, _ := open(t, g, "a:1", "a:1", 0)
			for _, c := range g.list(func(c *connection) bool { return !known[c] }) {
				known[c] = true
				g.deadlines.add(c, start.Add(time.Duration(i+1)*time.Second))
			}
			ends[i] = make(chan end, 1)
			go func() {
				if i%3 == 0 { // its client leaves half a second before
					elapse(time.Duration(i)*time.Second + time.Second/2)
					_ = client.Close()
				}
				ends[i] <- end{<-client.code, time.Since(start)}
			}()
		}
		for i := range n {
			got := <-ends[i]
			want := end{1012, time.Duration(i+1) * time.Second}
			if i%3 == 0 {
				want = end{0, want.at - time.Second/2}
			}
			if got != want {
				t.Errorf("connection %d: %+v, want %+v", i, got, want)
			}
		}
		elapse(time.Minute)
		synctest.Wait()
		if left := len(g.connections) + len(g.deadlines.queue); left != 0 {
			t.Errorf("%d are left", left)
		}
	})
}

func TestDeadlineInThePastEndsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRegistry()
		_ = g.join("a:1")
		client, _ := open(t, g, "a:1", "a:1", 0)
		start := time.Now()
		g.deadlines.add(only(t, g), start.Add(-time.Hour))
		if code := <-client.code; code != 1012 || time.Since(start) != 0 {
			t.Errorf("the client got %d after %s", code, time.Since(start))
		}
	})
}

// Whatever comes and goes in whatever order, the queue holds who is there, with
// the earliest in front, and everyone knows their own place.
func TestDeadlinesStayInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(6, 6))
		d := newDeadlines()
		begin := time.Now().Add(time.Hour)
		at := make(map[*connection]time.Time)
		for range 2000 {
			if len(at) == 0 || rng.IntN(5) < 3 {
				c := new(connection)
				at[c] = begin.Add(time.Duration(rng.IntN(1000)) * time.Minute)
				d.add(c, at[c])
			} else {
				for c := range at {
					d.remove(c)
					d.remove(c)
					delete(at, c)
					break
				}
			}
			if len(d.queue) != len(at) {
				t.Fatalf("%d are queued, want %d", len(d.queue), len(at))
			}
			for i, each := range d.queue {
				if each.connection.deadline != i+1 || !each.at.Equal(at[each.connection]) || each.at.Before(d.queue[0].at) {
					t.Fatalf("the entry %d is out of place", i)
				}
			}
		}
		for c := range at {
			d.remove(c)
		}
	})
}
