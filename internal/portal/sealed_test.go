package portal_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/secret"
	"github.com/loa-syndication/loa/internal/streams"
)

// openWith opens a registry whose keys are given, the newest first.
func openWith(t *testing.T, js jetstream.JetStream, keys ...secret.Secret) *portal.Registry {
	t.Helper()
	var lines []string
	for _, k := range keys {
		lines = append(lines, k.Reveal())
	}
	ring, err := secret.ParseKeyring(secret.Secret(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	r, err := portal.Open(t.Context(), js, sites(t), ring, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// stored is all that the bucket and the audit hold, former values included.
func stored(t *testing.T, js jetstream.JetStream) string {
	t.Helper()
	var all strings.Builder
	for _, name := range []string{"KV_" + streams.PortalsBucket, streams.Audit} {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq; seq++ {
			if m, err := s.GetMsg(t.Context(), seq); err == nil {
				all.Write(m.Data)
			}
		}
	}
	return all.String()
}

func confidential(name string) (portal.Portal, []string) {
	p := portal.Portal{Name: name, URL: "https://east.example/loa", Secrets: []portal.Secret{portal.Secret(events.NewSecret()), portal.Secret(events.NewSigningKey())},
		Headers: map[string]portal.Secret{"X-Token": "ma-rieng-cua-quan"}}
	return p, []string{p.Secrets[0].Reveal(), p.Secrets[1].Reveal(), "ma-rieng-cua-quan", "whsec_", "whsk_"}
}

func TestSecretsAreStoredSealed(t *testing.T) {
	t.Parallel()
	js, key := loatest.NATS(t), secret.NewKey()
	here, there := openWith(t, js, key), openWith(t, js, key)
	p, hidden := confidential("east")
	if _, err := here.Put(t.Context(), p, "test"); err != nil {
		t.Fatal(err)
	}
	loatest.Eventually(t, "the other process knows it", func() bool { _, ok := there.Get("east"); return ok })
	if got, _ := there.Get("east"); !slices.Equal(got.Secrets, p.Secrets) || got.Headers["X-Token"] != "ma-rieng-cua-quan" {
		t.Error("the other process has other secrets")
	}
	for _, s := range hidden {
		if strings.Contains(stored(t, js), s) {
			t.Errorf("%.6s… is stored in clear", s)
		}
	}
}

func TestWithoutTheKeyAPortalWaitsUnharmed(t *testing.T) {
	t.Parallel()
	js, key := loatest.NATS(t), secret.NewKey()
	right := openWith(t, js, key)
	p, _ := confidential("east")
	if _, err := right.Put(t.Context(), p, "test"); err != nil {
		t.Fatal(err)
	}
	wrong := openWith(t, js, secret.NewKey())
	fault := wrong.Malformed()["east"]
	if _, ok := wrong.Get("east"); ok || !wrong.Known("east") || fault == nil || !strings.Contains(fault.Error(), "not at hand") {
		t.Fatalf("with another key: %v", fault)
	}
	if err := wrong.Pause(t.Context(), "east", "test", "thử"); err == nil {
		t.Error("it is changed without being read")
	}
	if n, err := wrong.Reseal(t.Context()); n != 0 || err != nil {
		t.Errorf("%d sealed anew, %v", n, err)
	}
	if got, _ := right.Get("east"); !slices.Equal(got.Secrets, p.Secrets) {
		t.Error("its secrets were harmed")
	}
}

func TestSecretsInClearAndOfFormerKeysAreSealedAnew(t *testing.T) {
	t.Parallel()
	js, old, current := loatest.NATS(t), secret.NewKey(), secret.NewKey()
	p, hidden := confidential("east")
	if _, err := open(t, js).Put(t.Context(), p, "test"); err != nil { // without keys
		t.Fatal(err)
	}
	for _, keys := range [][]secret.Secret{{old}, {current, old}} {
		r := openWith(t, js, keys...)
		if n, err := r.Reseal(t.Context()); n != 1 || err != nil {
			t.Fatalf("%d sealed anew, %v", n, err)
		}
		loatest.Eventually(t, "nothing is left to seal", func() bool { n, err := r.Reseal(t.Context()); return n == 0 && err == nil })
	}
	got, ok := openWith(t, js, current).Get("east")
	if !ok || !slices.Equal(got.Secrets, p.Secrets) || got.Headers["X-Token"] != p.Headers["X-Token"] {
		t.Error("the new key alone does not open it")
	}
	for _, s := range hidden {
		if strings.Contains(stored(t, js), s) {
			t.Errorf("%.6s… is still stored in clear", s)
		}
	}
}

func TestBothSecretsSignWhileOneReplacesTheOther(t *testing.T) {
	t.Parallel()
	js, key := loatest.NATS(t), secret.NewKey()
	r := openWith(t, js, key)
	worker := openWith(t, js, key)
	p, err := r.Put(t.Context(), portal.Portal{Name: "east", URL: "https://east.example/loa"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	first, second, third := p.Secrets[0], portal.Secret(events.NewSigningKey()), portal.Secret(events.NewSecret())
	signing := func(at time.Time) []portal.Secret { p, _ := worker.Get("east"); return p.Signing(at) }
	rotate := func(s portal.Secret, overlap time.Duration) {
		t.Helper()
		began := time.Now()
		if err := r.Rotate(t.Context(), "east", s, overlap, "Lan"); err != nil {
			t.Fatal(err)
		}
		loatest.Eventually(t, "the worker signs with the new one", func() bool {
			now := signing(time.Now()) // of no portal as long as the worker has yet to learn of it
			return len(now) > 0 && now[0] == s
		})
		if took := time.Since(began); took > time.Second {
			t.Logf("it took %s", took) // a second at most, but for a machine that is busy
		}
	}
	rotate(second, time.Hour)
	now := time.Now()
	if got := signing(now); !slices.Equal(got, []portal.Secret{second, first}) {
		t.Errorf("%d secrets sign within the overlap, want both", len(got))
	}
	if got := signing(now.Add(2 * time.Hour)); !slices.Equal(got, []portal.Secret{second}) {
		t.Errorf("%d secrets sign after the overlap, want the new one", len(got))
	}
	// A file that is behind does not bring the old one back, nor does it end the overlap.
	if err := r.Apply(t.Context(), []portal.Portal{{Name: "east", Title: "Quận Đông", URL: "https://east.example/loa", Secrets: []portal.Secret{first}}}, "file"); err != nil {
		t.Fatal(err)
	}
	if p, _ := r.Get("east"); p.Title != "Quận Đông" || !slices.Equal(p.Signing(now), []portal.Secret{second, first}) {
		t.Errorf("a file that is behind changes what signs: %q, %d secrets", p.Title, len(p.Signing(now)))
	}
	for name, bad := range map[string]struct {
		secret  portal.Secret
		overlap time.Duration
		want    string
	}{
		"the same again": {second, time.Hour, "already"},
		"a former one":   {first, time.Hour, "already"},
		"none":           {"mat-khau", time.Hour, "whsec_"},
		"for ever":       {third, portal.MaxOverlap + 1, "overlap"},
	} {
		if err := r.Rotate(t.Context(), "east", bad.secret, bad.overlap, "Lan"); err == nil || !strings.Contains(err.Error(), bad.want) || strings.Contains(err.Error(), bad.secret.Reveal()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ended, err := r.EndOverlap(t.Context(), "east", "Lan"); !ended || err != nil {
		t.Errorf("%v, %v", ended, err)
	}
	rotate(third, 0)
	if got := signing(time.Now()); !slices.Equal(got, []portal.Secret{third}) {
		t.Errorf("%d secrets sign, want the new one at once", len(got))
	}
	var did []string
	for rec, err := range r.History(t.Context(), "east") {
		if err != nil {
			t.Fatal(err)
		}
		did = append(did, rec.What)
	}
	if !slices.Equal(did, []string{"added", "rotated", "changed", "rotated", "rotated"}) {
		t.Errorf("recorded as %v", did)
	}
}
