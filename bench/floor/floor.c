// The floor: a relay that knows nothing of HTTP or WebSocket. It accepts a TCP
// connection, opens one to the backend, and copies both ways with one buffer
// and level-triggered epoll. What a proxy costs above it is what it does for
// its keep.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <errno.h>

#define MAXFD 65536
static int peer[MAXFD];       // the other side, or 0
static char *rest[MAXFD];     // what fd has still to be sent
static size_t rest_len[MAXFD], rest_at[MAXFD];
static char buf[128 << 10];
static int ep;

static void ctl(int op, int fd, uint32_t events) {
	struct epoll_event e = {.events = events, .data.fd = fd};
	epoll_ctl(ep, op, fd, &e);
}

static void drop(int fd) {
	int other = peer[fd];
	int both[2] = {fd, other};
	for (int i = 0; i < 2; i++) {
		free(rest[both[i]]);
		rest[both[i]] = NULL;
		peer[both[i]] = 0;
		close(both[i]);
	}
}

static struct sockaddr_in address(const char *port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static struct sockaddr_in backends[8];
static unsigned backend_count, turn;

static void open_pair(int l) {
	int c, one = 1;
	while ((c = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		int u = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		struct sockaddr_in *to = &backends[turn++ % backend_count];
		if (c >= MAXFD || u < 0 || u >= MAXFD ||
			(connect(u, (struct sockaddr *)to, sizeof *to) < 0 && errno != EINPROGRESS)) {
			close(c);
			close(u);
			continue;
		}
		setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		setsockopt(u, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		peer[c] = u;
		peer[u] = c;
		rest[u] = malloc(1); // until it is connected: wait to be writable
		rest_len[u] = rest_at[u] = 0;
		ctl(EPOLL_CTL_ADD, u, EPOLLOUT);
		ctl(EPOLL_CTL_ADD, c, 0);
	}
}

static void flush(int fd) {
	while (rest_at[fd] < rest_len[fd]) {
		ssize_t n = send(fd, rest[fd] + rest_at[fd], rest_len[fd] - rest_at[fd], MSG_NOSIGNAL);
		if (n < 0) {
			if (errno != EAGAIN)
				drop(fd);
			return;
		}
		rest_at[fd] += n;
	}
	free(rest[fd]);
	rest[fd] = NULL;
	ctl(EPOLL_CTL_MOD, fd, EPOLLIN);
	ctl(EPOLL_CTL_MOD, peer[fd], EPOLLIN | (rest[peer[fd]] ? EPOLLOUT : 0));
}

static void copy(int fd) {
	int to = peer[fd];
	ssize_t n = recv(fd, buf, sizeof buf, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		drop(fd);
		return;
	}
	ssize_t m = send(to, buf, n, MSG_NOSIGNAL);
	if (m < 0 && errno != EAGAIN) {
		drop(fd);
		return;
	}
	if (m < 0)
		m = 0;
	if (m == n)
		return;
	rest[to] = malloc(n - m);
	memcpy(rest[to], buf + m, n - m);
	rest_at[to] = 0;
	rest_len[to] = n - m;
	ctl(EPOLL_CTL_MOD, fd, rest[fd] ? EPOLLOUT : 0);
	ctl(EPOLL_CTL_MOD, to, EPOLLOUT | (rest[fd] ? 0 : EPOLLIN));
}

int main(int argc, char **argv) {
	if (argc < 3 || argc > 10)
		return 2;
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	struct sockaddr_in at = address(argv[1]);
	for (int i = 2; i < argc; i++)
		backends[backend_count++] = address(argv[i]);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(l, (struct sockaddr *)&at, sizeof at) < 0 || listen(l, 4096) < 0) {
		perror("floor");
		return 1;
	}
	ep = epoll_create1(0);
	ctl(EPOLL_CTL_ADD, l, EPOLLIN);
	struct epoll_event events[256];
	for (;;) {
		int n = epoll_wait(ep, events, 256, -1);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == l) {
				open_pair(l);
				continue;
			}
			if (!peer[fd])
				continue;
			if (rest[fd])
				flush(fd);
			else if (events[i].events & ~EPOLLOUT)
				copy(fd);
		}
	}
}
