// Package caddy builds a Caddy with the gateway of this checkout.
package caddy

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

const module = "github.com/wsgateway/caddy-ws-gateway"

// Build makes the binary. The gateway is a module of its own, with its own
// dependencies, so it is built where it is.
func Build(ctx context.Context, binary string) error {
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return fmt.Errorf("finding the gateway's source: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/caddy") //nolint:gosec // a fixed command
	build.Dir = strings.TrimSpace(string(dir))
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building cmd/caddy: %w: %s", err, out)
	}
	return nil
}
