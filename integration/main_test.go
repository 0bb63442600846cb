// Package integration tests the gateway from outside: a whole Caddy runs in
// the test process, real TCP backends record what reaches them, and the
// clients share no code with the gateway. There is one Caddy in a process, so
// the tests run one after the other.
package integration

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/wsgateway/caddy-ws-gateway"
)

// workDir holds certificates, sockets and binaries; it is short, because the
// path of a unix socket may have about 100 bytes.
var workDir string

func TestMain(m *testing.M) {
	reexecWithExtendedConnect()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if workDir, err = os.MkdirTemp("", "wsgw"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(workDir)
	if err := makeCertificate(); err != nil {
		fmt.Fprintln(os.Stderr, "making a certificate:", err)
		return 1
	}
	// The signal package starts a goroutine on first use and keeps it.
	signal.Ignore(syscall.SIGPIPE)
	code := m.Run()
	if err := caddy.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping caddy:", err)
		code = 1
	}
	if left := goroutinesLeft(); left != "" && code == 0 {
		fmt.Fprintln(os.Stderr, "goroutines left after every connection was closed and Caddy was stopped:\n"+left)
		code = 1
	}
	return code
}

// reexecWithExtendedConnect starts this binary again where extended CONNECT
// over HTTP/2 is off, because x/net reads GODEBUG once, before any test runs.
// Caddy's own files go to a temporary home for the same reason.
func reexecWithExtendedConnect() {
	const setting = "http2xconnect=1"
	if strings.Contains(os.Getenv("GODEBUG"), setting) {
		return
	}
	debug := setting
	if old := os.Getenv("GODEBUG"); old != "" {
		debug = old + "," + setting
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "finding the test binary:", err)
		os.Exit(1)
	}
	home := filepath.Join(os.TempDir(), "wsgw-home")
	env := append(os.Environ(), "GODEBUG="+debug, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	err = syscall.Exec(self, os.Args, env) // #nosec G204 -- this very binary, with its own arguments
	fmt.Fprintln(os.Stderr, "starting again with GODEBUG="+debug+":", err)
	os.Exit(1)
}
