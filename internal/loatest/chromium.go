package loatest

import (
	"os/exec"
	"testing"
)

// DOM opens an address in a headless Chromium, and gives the page as it is in the end. The test is
// skipped where there is none. Time is virtual: what a page waits for takes none. It reaches this
// machine alone.
func DOM(t testing.TB, address string) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(t.Context(), path, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
			"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=20000", "--dump-dom", address).Output()
		if err != nil {
			t.Fatalf("open %s in %s: %v\n%s", address, name, err, out)
		}
		return string(out)
	}
	t.Skip("there is no Chromium here")
	return ""
}
