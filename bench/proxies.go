package main

import (
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed floor/floor.c
var floorSource string

// proxy is one of those that are compared.
type proxy struct {
	name string
	// prepare makes what start runs; an error means that it is not to be had
	// here.
	prepare func(dir string) error
	// start returns the command that serves addr before the backend.
	start func(dir, addr, backend string, secure bool) *exec.Cmd
	ws    bool // it cannot do wss
}

func proxies() []proxy {
	return []proxy{
		{name: "floor", prepare: buildFloor, start: startFloor, ws: true},
		{name: "ws_gateway", prepare: buildCaddy("caddy"), start: startCaddy("caddy", "ws_gateway")},
		{name: "goroutines", prepare: buildCaddy("caddy-noloop", "-tags", "noloop"), start: startCaddy("caddy-noloop", "ws_gateway")},
		{name: "reverse_proxy", prepare: buildCaddy("caddy"), start: startCaddy("caddy", "reverse_proxy")},
		{name: "nginx", prepare: installed("nginx"), start: startNginx},
		{name: "haproxy", prepare: installed("haproxy"), start: startHAProxy},
	}
}

func installed(name string) func(string) error {
	return func(string) error {
		_, err := exec.LookPath(name)
		return err
	}
}

func buildFloor(dir string) error {
	source := filepath.Join(dir, "floor.c")
	if err := os.WriteFile(source, []byte(floorSource), 0o600); err != nil {
		return err
	}
	return run("gcc", "-O2", "-o", filepath.Join(dir, "floor"), source)
}

func startFloor(dir, addr, backend string, _ bool) *exec.Cmd {
	return exec.Command(filepath.Join(dir, "floor"), port(addr), port(backend)) //nolint:gosec // what we built
}

func buildCaddy(name string, flags ...string) func(string) error {
	return func(dir string) error {
		to := filepath.Join(dir, name)
		if _, err := os.Stat(to); err == nil {
			return nil
		}
		return run("go", append(append([]string{"build", "-o", to}, flags...), "./cmd/caddy")...)
	}
}

func startCaddy(binary, directive string) func(dir, addr, backend string, secure bool) *exec.Cmd {
	return func(dir, addr, backend string, secure bool) *exec.Cmd {
		site, tls := "http://:"+port(addr), ""
		if secure {
			site, tls = "https://:"+port(addr), fmt.Sprintf("tls %s/cert.pem %s/key.pem", dir, dir)
		}
		config := fmt.Sprintf("{\n admin off\n auto_https off\n persist_config off\n default_sni localhost\n}\n%s {\n bind 127.0.0.1\n %s\n %s %s\n}\n", site, tls, directive, backend)
		file := write(dir, binary+directive+".caddyfile", config)
		return exec.Command(filepath.Join(dir, binary), "run", "--adapter", "caddyfile", "--config", file) //nolint:gosec // what we built
	}
}

func startNginx(dir, addr, backend string, secure bool) *exec.Cmd {
	listen := addr
	if secure {
		listen = fmt.Sprintf("%s ssl; ssl_certificate %s/cert.pem; ssl_certificate_key %s/key.pem; ssl_protocols TLSv1.3", addr, dir, dir)
	}
	config := fmt.Sprintf(`daemon off; worker_processes auto; worker_rlimit_nofile 20000; pid %s/nginx.pid; error_log /dev/null;
events { worker_connections 20000; }
http {
 access_log off; client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s; uwsgi_temp_path %s; scgi_temp_path %s;
 server {
  listen %s;
  location / {
   proxy_pass http://%s; proxy_http_version 1.1; proxy_buffering off;
   proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_set_header Host $host;
   proxy_read_timeout 1h; proxy_send_timeout 1h;
  }
 }
}`, dir, dir, dir, dir, dir, dir, listen, backend)
	return exec.Command("nginx", "-c", write(dir, "nginx.conf", config)) //nolint:gosec // our own configuration
}

func startHAProxy(dir, addr, backend string, secure bool) *exec.Cmd {
	bind := addr
	if secure {
		bind = addr + " ssl ssl-min-ver TLSv1.3 crt " + filepath.Join(dir, "both.pem")
	}
	config := fmt.Sprintf(`global
 maxconn 9900
 nbthread 2
defaults
 mode http
 timeout connect 5s
 timeout client 1h
 timeout server 1h
 timeout tunnel 1h
frontend f
 bind %s
 default_backend b
backend b
 server s %s
`, bind, backend)
	return exec.Command("haproxy", "-db", "-f", write(dir, "haproxy.cfg", config)) //nolint:gosec // our own configuration
}

func write(dir, name, text string) string {
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		panic(err)
	}
	return file
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput() //nolint:gosec // our own tools
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// freeAddr is an address that nobody listens at.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// launch starts a command and waits until it listens.
func launch(cmd *exec.Cmd, addr string) (stop func(), err error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		killed := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		killed.Stop()
	}
	for range 100 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			time.Sleep(200 * time.Millisecond)
			return stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("%s does not listen at %s", cmd.Path, addr)
}
