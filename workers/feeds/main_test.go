package feeds

import (
	"testing"

	"github.com/loa-syndication/loa/internal/loatest"
)

func TestMain(m *testing.M) { loatest.Main(m) }
