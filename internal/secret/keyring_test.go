package secret_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/internal/secret"
)

func ring(t *testing.T, keys ...secret.Secret) *secret.Keyring {
	t.Helper()
	var text strings.Builder
	text.WriteString("# keys\n\n")
	for _, k := range keys {
		text.WriteString(k.Reveal() + "\n")
	}
	r, err := secret.ParseKeyring(secret.Secret(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatIsSealedOpensInItsPlaceAlone(t *testing.T) {
	old, current := secret.NewKey(), secret.NewKey()
	const plain = secret.Secret("whsec_bí-mật")
	stored := ring(t, old).Seal(plain, "portal/east/secrets")
	if strings.Contains(stored, plain.Reveal()) || stored == ring(t, old).Seal(plain, "portal/east/secrets") {
		t.Errorf("stored as %s", stored)
	}
	for name, c := range map[string]struct {
		ring    *secret.Keyring
		stored  string
		place   string
		current bool
		fault   string
	}{
		"with its key":     {ring(t, old), stored, "portal/east/secrets", true, ""},
		"after a rotation": {ring(t, current, old), stored, "portal/east/secrets", false, ""},
		"in clear":         {ring(t, current), plain.Reveal(), "portal/east/secrets", false, ""},
		"in another place": {ring(t, old), stored, "portal/west/secrets", false, "elsewhere"},
		"with another key": {ring(t, current), stored, "portal/east/secrets", false, "not at hand"},
		"cut off":          {ring(t, old), stored[:len(stored)-8], "portal/east/secrets", false, "damaged"},
		"changed":          {ring(t, old), stored[:len(stored)-6] + "AAAA==", "portal/east/secrets", false, "damaged"},
	} {
		got, isCurrent, err := c.ring.Open(c.stored, c.place)
		if c.fault == "" {
			if err != nil || got != plain || isCurrent != c.current {
				t.Errorf("%s: same %v, current %v, %v", name, got == plain, isCurrent, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.fault) || got != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := ring(t, current).Open(stored, "portal/east/secrets"); !errors.Is(err, secret.ErrNoKey) {
		t.Errorf("with another key: %v", err)
	}
}

func TestKeysThatAreNoneAreRefusedAndNotTold(t *testing.T) {
	for _, bad := range []string{"", "# none\n", "mat-khau-cua-toi", strings.Repeat("QUFB", 4), strings.Repeat(secret.NewKey().Reveal()+"\n", 17)} {
		_, err := secret.ParseKeyring(secret.Secret(bad))
		if err == nil || !strings.Contains(err.Error(), "expected") || len(bad) > 8 && strings.Contains(err.Error(), bad[:8]) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}
