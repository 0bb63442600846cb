// Command smoke checks that a running gateway refuses a WebSocket without a
// token and echoes over one with it.
//
//	smoke <http URL> <token>
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/coder/websocket"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: smoke <http URL> <token>")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := check(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "smoke:", err)
		os.Exit(1)
	}
}

func check(ctx context.Context, url, token string) error {
	if err := awaitServer(ctx, url); err != nil {
		return err
	}
	if err := checkRefused(ctx, url); err != nil {
		return err
	}
	return checkEcho(ctx, url, token)
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
// back.
func checkEcho(ctx context.Context, url, token string) error {
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
	if err := conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	_, echo, err := conn.Read(ctx)
	if err != nil {
		return fmt.Errorf("reading the echo: %w", err)
	}
	if string(echo) != message {
		return fmt.Errorf("got %q back, want %q", echo, message)
	}
	fmt.Printf("with the token: %q, and an echo\n", greeting)
	return conn.Close(websocket.StatusNormalClosure, "")
}
