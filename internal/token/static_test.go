package token

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"strings"
	"testing"
)

func TestLongestTokenIsAccepted(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("x", maxTokenSize)
	options := testOptions()
	options.Static = []Static{{Token: longest}}
	if _, _, err := mustNew(t, options).VerifyAny(t.Context(), []string{longest}, noon); err != nil {
		t.Errorf("a token of %d bytes: %v", len(longest), err)
	}
	options.Static[0].Token += "x"
	if _, err := New(*options); err == nil {
		t.Error("a token that is never accepted was configured without an error")
	}
}

// The time a comparison takes must not tell how much of a guess is right.
// Noise on a shared machine hides what a measurement would show, so this holds
// the shape of the code: hashes, compared in constant time, without a way out
// of the loop.
func TestTimingAttackFindsNoEarlyExit(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(gotoken.NewFileSet(), "static.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var loops, compares int
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Name.Name != "verify" {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			loop, ok := n.(*ast.RangeStmt)
			if !ok {
				return true
			}
			loops++
			ast.Inspect(loop.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ReturnStmt, *ast.BranchStmt, *ast.IfStmt, *ast.SwitchStmt, *ast.BinaryExpr:
					t.Errorf("%T in the loop that compares tokens", n)
				case *ast.SelectorExpr:
					if n.Sel.Name == "ConstantTimeCompare" {
						compares++
					}
				}
				return true
			})
			return false
		})
	}
	if loops != 1 || compares != 1 {
		t.Errorf("found %d loops and %d constant-time comparisons in verify, want one of each", loops, compares)
	}
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		realm string
		err   error
		want  string
	}{
		{"default", nil, `Bearer realm="default"`},
		{"default", errJWTExpired, `Bearer realm="default", error="invalid_token", error_description="the token is not valid"`},
		{"default", ErrInsufficient, `Bearer realm="default", error="insufficient_scope", error_description="the token does not allow this"`},
		{"default", ErrUnavailable, `Bearer realm="default"`},
		{"a\"b\\c\r\nX: y", nil, `Bearer realm="a\"b\\cX: y"`},
	} {
		if got := Challenge(row.realm, row.err); got != row.want {
			t.Errorf("challenge(%q, %v) = %s, want %s", row.realm, row.err, got, row.want)
		}
	}
}
