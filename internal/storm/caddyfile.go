package main

// globalOptions are those that every configuration begins with. One server has wrapped
// sockets, so that goroutines relay.
const globalOptions = `
	admin unix/{admin}
	persist_config off
	storage file_system {dir}/storage
	auto_https disable_redirects
	skip_install_trust
	default_bind 127.0.0.1
	log default {
		output stderr
		level ERROR
	}
	servers :{wrapped} {
		listener_wrappers {
			proxy_protocol
		}
	}
`

// caddyfile is the configuration. The timeouts of the server and of a transport are
// short, because none may end an open connection.
const caddyfile = `{` + globalOptions + `
	log everything {
		output discard
	}
	servers {
		timeouts {
			read_body 5s
			read_header 10s
			write 5s
			idle 20s
		}
	}
}
(gateways) {
	handle /direct {
		ws_gateway 127.0.0.1:{one} 127.0.0.1:{two} {
			name direct
			handshake_timeout 10s
		}
	}
	handle /named {
		ws_gateway localhost:{one} localhost:{two} {
			name named
			handshake_timeout 10s
		}
	}
	handle /unix {
		ws_gateway unix/{socket} {
			name unix
			handshake_timeout 10s
		}
	}
	handle /tls {
		ws_gateway {secure} {
			name tls
			handshake_timeout 10s
			transport http {
				tls_insecure_skip_verify
			}
		}
	}
	handle /timed {
		ws_gateway 127.0.0.1:{one} 127.0.0.1:{two} {
			name timed
			handshake_timeout 10s
			transport http {
				read_timeout 6s
				write_timeout 6s
			}
		}
	}
}
http://:{http}, http://:{wrapped} {
	log
	import gateways
}
https://localhost:{https} {
	tls {pem} {key}
	log
	import gateways
}
`
