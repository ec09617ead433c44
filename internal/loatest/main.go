package loatest

import (
	"flag"
	"os"
	"testing"
)

// Main runs tests that wait more than they work, more of them at once than there are processors. What
// -parallel says goes before.
func Main(m *testing.M) {
	flag.Set("test.parallel", "4") // the flags of the command line are parsed later, by Run
	os.Exit(m.Run())
}
