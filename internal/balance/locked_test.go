package balance

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// TestLockedFunctionsAreCalledUnderTheLock looks at who calls a function whose name
// says that it needs the ledger's lock.
func TestLockedFunctionsAreCalledUnderTheLock(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			needs, locks := lockingOf(function)
			calls += len(needs)
			inside := strings.HasSuffix(function.Name.Name, "Locked")
			switch {
			case inside && locks:
				t.Errorf("%s: %s is called under the lock and takes it", file.Name(), function.Name.Name)
			case !inside && !locks && len(needs) > 0:
				t.Errorf("%s: %s calls %v without the lock", file.Name(), function.Name.Name, needs)
			}
		}
	}
	if calls < 50 {
		t.Errorf("only %d calls were found", calls)
	}
}

// lockingOf returns the functions called that need the lock, and whether it is taken.
func lockingOf(function *ast.FuncDecl) (needs []string, locks bool) {
	ast.Inspect(function, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := ""
		switch f := call.Fun.(type) {
		case *ast.Ident:
			name = f.Name
		case *ast.SelectorExpr:
			name = f.Sel.Name
		}
		if strings.HasSuffix(name, "Locked") {
			needs = append(needs, name)
		}
		locks = locks || name == "Lock"
		return true
	})
	return needs, locks
}
