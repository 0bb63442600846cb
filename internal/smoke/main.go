// Command smoke checks that a running gateway refuses a WebSocket without a
// token and echoes over one with it, in upper case where the gateway is to shout.
//
//	smoke <http URL> <token> [shout]
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/coder/websocket"
)

func main() {
	shouts := len(os.Args) == 4 && os.Args[3] == "shout"
	if len(os.Args) != 3 && !shouts {
		fmt.Fprintln(os.Stderr, "usage: smoke <http URL> <token> [shout]")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := check(ctx, os.Args[1], os.Args[2], shouts); err != nil {
		fmt.Fprintln(os.Stderr, "smoke:", err)
		os.Exit(1)
	}
}

func check(ctx context.Context, url, token string, shouts bool) error {
	if err := awaitServer(ctx, url); err != nil {
		return err
	}
	if err := checkRefused(ctx, url); err != nil {
		return err
	}
	return checkEcho(ctx, url, token, shouts)
}

// awaitServer returns as soon as anything answers at url.
func awaitServer(ctx context.Context, url string) error {
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			return answer.Body.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the server: %w", err)
		case <-retry.C:
		}
	}
}

// checkRefused dials without a token and wants a 401.
func checkRefused(ctx context.Context, url string) error {
	conn, answer, err := websocket.Dial(ctx, url, nil) //nolint:bodyclose // Dial has closed it
	if err == nil {
		_ = conn.CloseNow()
		return fmt.Errorf("a handshake without a token was accepted")
	}
	if answer == nil {
		return fmt.Errorf("dialing without a token: %w", err)
	}
	challenge := answer.Header.Get("WWW-Authenticate")
	if answer.StatusCode != http.StatusUnauthorized || challenge == "" {
		return fmt.Errorf("without a token: got %d with the challenge %q, want 401 with one", answer.StatusCode, challenge)
	}
	fmt.Println("without a token:", answer.Status)
	return nil
}

// checkEcho dials with the token, reads the greeting and wants its message
// back. A gateway that shouts drops one message, too.
func checkEcho(ctx context.Context, url, token string, shouts bool) error {
	const message = "is anybody there"
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{ //nolint:bodyclose // it is the connection
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	if err != nil {
		return fmt.Errorf("dialing with the token: %w", err)
	}
	defer conn.CloseNow()
	_, greeting, err := conn.Read(ctx)
	if err != nil {
		return fmt.Errorf("reading the greeting: %w", err)
	}
	said, want := []string{message}, message
	if shouts {
		said, want = []string{"drop this", message}, strings.ToUpper(message)
	}
	for _, text := range said {
		if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	}
	_, echo, err := conn.Read(ctx)
	if err != nil {
		return fmt.Errorf("reading the echo: %w", err)
	}
	if string(echo) != want {
		return fmt.Errorf("got %q back, want %q", echo, want)
	}
	fmt.Printf("with the token: %q, and an echo\n", greeting)
	return conn.Close(websocket.StatusNormalClosure, "")
}
