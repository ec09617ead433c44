package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/secret"
)

func TestASecretIsNeverShown(t *testing.T) {
	const value = "whsec_kín"
	s := secret.Secret(value)
	holder := struct{ Password secret.Secret }{s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10s"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", &s)
		fmt.Fprintf(&out, verb+"\n", holder)
	}
	if err := json.NewEncoder(&out).Encode(holder); err != nil {
		t.Fatal(err)
	}
	log := zerolog.New(&out)
	log.Info().Interface("holder", holder).Stringer("s", s).Msg("x")
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "s", s, "holder", holder)
	for _, shown := range []string{value, fmt.Sprintf("%x", value), "kín"} {
		if strings.Contains(out.String(), shown) {
			t.Errorf("%q is shown in:\n%s", shown, out.String())
		}
	}
	if s.Reveal() != value {
		t.Errorf("revealed as %q", s.Reveal())
	}
}
