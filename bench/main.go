// Command bench compares this gateway with other proxies in front of the same
// backend: the CPU that each takes for a message, and the memory for a quiet
// connection. It prints a Markdown table of ratios.
//
//	go run ./bench [-tls] [-rounds 3] [-only ws_gateway,nginx] [-scenario push,idle]
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// scenario is one kind of load. It returns how many units of work there were.
type scenario struct {
	name string
	unit string
	load func(c client, begin func()) (int, []time.Duration, error)
}

func scenarios(d time.Duration) []scenario {
	return []scenario{
		{"push", "CPU µs/msg", func(c client, begin func()) (int, []time.Duration, error) { return c.pushed(5000, d, begin) }},
		{"paced", "CPU µs/msg", func(c client, begin func()) (int, []time.Duration, error) { return c.paced(1000, 4000, d, begin) }},
		{"echo", "CPU µs/msg", func(c client, begin func()) (int, []time.Duration, error) { return c.flatOut(64, 32, d, begin) }},
		{"echo64k", "CPU µs/msg", func(c client, begin func()) (int, []time.Duration, error) { return c.flatOut(16, 64<<10, d, begin) }},
		{"bulk", "CPU µs/msg", func(c client, begin func()) (int, []time.Duration, error) { return c.flatOut(4, 1<<20, d, begin) }},
		{"single", "CPU µs/msg", func(c client, begin func()) (int, []time.Duration, error) { return c.paced(1, 2000, d, begin) }},
		{"storm", "CPU µs/conn", func(c client, begin func()) (int, []time.Duration, error) { return c.storm(16, d, begin) }},
	}
}

// bench is one run.
type bench struct {
	dir      string
	backend  string
	secure   bool
	idle     int
	duration time.Duration
	results  map[string]map[string][]float64 // scenario, proxy
}

func main() {
	serve := flag.String("backend", "", "serve as the backend at this address")
	secure := flag.Bool("tls", false, "wss instead of ws")
	rounds := flag.Int("rounds", 3, "how often everything is measured")
	only := flag.String("only", "", "the proxies to compare, with commas")
	which := flag.String("scenario", "", "the scenarios, with commas")
	duration := flag.Duration("duration", 4*time.Second, "how long a scenario lasts")
	at := flag.String("at", "", "put only this address under load, for profiling what listens there")
	idle := flag.Int("idle", 9000, "quiet connections to measure memory with")
	flag.Parse()
	if *serve != "" {
		fail(serveBackend(*serve))
	}
	if *at != "" {
		fail(loadOnly(*at, *secure, *which, *duration))
		return
	}
	b := &bench{secure: *secure, idle: *idle, duration: *duration, results: make(map[string]map[string][]float64)}
	fail(b.run(*rounds, *only, *which))
}

// loadOnly puts whatever listens at addr under load.
func loadOnly(addr string, secure bool, which string, d time.Duration) error {
	for _, s := range scenarios(d) {
		if !listed(which, s.name) {
			continue
		}
		units, _, err := s.load(clientOf(addr, secure), func() {})
		if err != nil {
			return err
		}
		fmt.Printf("%s: %d\n", s.name, units)
	}
	return nil
}

func clientOf(addr string, secure bool) client {
	c := client{addr: addr}
	if secure {
		c.tls = &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MinVersion: tls.VersionTLS13} //nolint:gosec // our own certificate
	}
	return c
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (b *bench) run(rounds int, only, which string) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.certify(); err != nil {
		return err
	}
	if b.backend, err = freeAddr(); err != nil {
		return err
	}
	stop, err := launch(exec.Command(os.Args[0], "-backend", b.backend), b.backend) //nolint:gosec // itself
	if err != nil {
		return err
	}
	defer stop()
	var chosen []proxy
	for _, p := range proxies() {
		if !listed(only, p.name) || p.ws && b.secure {
			continue
		}
		if err := p.prepare(b.dir); err != nil {
			fmt.Fprintf(os.Stderr, "without %s: %v\n", p.name, err)
			continue
		}
		chosen = append(chosen, p)
	}
	for round := range rounds {
		for _, p := range chosen {
			if err := b.measure(p, which); err != nil {
				fmt.Fprintf(os.Stderr, "round %d, %s: %v\n", round+1, p.name, err)
			}
		}
	}
	b.print(chosen)
	return nil
}

func listed(list, name string) bool {
	return list == "" || slices.Contains(strings.Split(list, ","), name)
}

// measure puts one proxy through the scenarios, each in a process of its own.
func (b *bench) measure(p proxy, which string) error {
	for _, s := range scenarios(b.duration) {
		if !listed(which, s.name) {
			continue
		}
		if err := b.withProxy(p, func(pid int, c client) error { return b.load(p, s, pid, c) }); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if !listed(which, "idle") {
		return nil
	}
	return b.withProxy(p, func(pid int, c client) error { return b.quiet(p, pid, c) })
}

func (b *bench) withProxy(p proxy, do func(pid int, c client) error) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	cmd := p.start(b.dir, addr, b.backend, b.secure)
	cmd.Env = append(os.Environ(), "HOME="+b.dir)
	stop, err := launch(cmd, addr)
	if err != nil {
		return err
	}
	defer stop()
	return do(cmd.Process.Pid, clientOf(addr, b.secure))
}

func (b *bench) load(p proxy, s scenario, pid int, c client) error {
	var before time.Duration
	units, latencies, err := s.load(c, func() { before = cpu(pid) })
	used := cpu(pid) - before
	if err != nil {
		return err
	}
	b.note(s.name+", "+s.unit, p, float64(used.Nanoseconds())/1e3/float64(units))
	if len(latencies) > 0 {
		slices.Sort(latencies)
		b.note(s.name+", p50 µs", p, float64(latencies[len(latencies)/2].Microseconds()))
		b.note(s.name+", p99 µs", p, float64(latencies[len(latencies)*99/100].Microseconds()))
	}
	return nil
}

// quiet opens many connections and looks at the memory, then has each of them
// send 1 KiB at once, and looks again.
func (b *bench) quiet(p proxy, pid int, c client) error {
	warm, err := c.dialMany(200, "/")
	if err != nil {
		return err
	}
	closeAll(warm)
	time.Sleep(time.Second)
	before := rss(pid)
	conns, err := c.dialMany(b.idle, "/")
	if err != nil {
		return err
	}
	defer closeAll(conns)
	time.Sleep(2 * time.Second)
	b.note("idle, KiB/conn", p, (rss(pid)-before)/float64(b.idle))
	m := message(1 << 10)
	for _, conn := range conns {
		if _, err := conn.Write(m); err != nil {
			return err
		}
	}
	echo := make([]byte, len(m)-4)
	for _, conn := range conns {
		if _, err := readFull(conn, echo); err != nil {
			return err
		}
	}
	time.Sleep(2 * time.Second)
	b.note("idle after burst, KiB/conn", p, (rss(pid)-before)/float64(b.idle))
	return nil
}

func readFull(c net.Conn, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = c.Read(p[n:])
		n += m
	}
	return n, err
}

func (b *bench) note(row string, p proxy, value float64) {
	if b.results[row] == nil {
		b.results[row] = make(map[string][]float64)
	}
	b.results[row][p.name] = append(b.results[row][p.name], value)
	fmt.Fprintf(os.Stderr, "%-28s %-14s %10.2f\n", row, p.name, value)
}

// print writes the table: medians, the spread, and the ratio to the first
// column.
func (b *bench) print(chosen []proxy) {
	fmt.Print("| ")
	for _, p := range chosen {
		fmt.Printf("| %s ", p.name)
	}
	fmt.Println("|\n|---" + strings.Repeat("|---:", len(chosen)) + "|")
	rows := make([]string, 0, len(b.results))
	for row := range b.results {
		rows = append(rows, row)
	}
	slices.Sort(rows)
	for _, row := range rows {
		fmt.Printf("| %s ", row)
		base := median(b.results[row][chosen[0].name])
		for _, p := range chosen {
			values := b.results[row][p.name]
			if len(values) == 0 {
				fmt.Print("| — ")
				continue
			}
			m := median(values)
			fmt.Printf("| %.2f (%.2f–%.2f) ×%.2f ", m, slices.Min(values), slices.Max(values), m/base)
		}
		fmt.Println("|")
	}
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// certify makes a certificate for localhost.
func (b *bench) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	write(b.dir, "cert.pem", cert)
	write(b.dir, "key.pem", private)
	write(b.dir, "both.pem", cert+private)
	return nil
}
