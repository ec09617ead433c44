package keys_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/keys"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/loatest/faultproxy"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

func tree(t *testing.T) *site.Tree {
	t.Helper()
	tree, err := site.New([]site.Site{{ID: "thanh-pho"}, {ID: "quan", Parent: "thanh-pho"}, {ID: "phuong", Parent: "quan"}})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestKeys(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	ctx := t.Context()
	open := func() *keys.Registry {
		t.Helper()
		r, err := keys.Open(ctx, js, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	one, other := open(), open() // as two processes have them
	defer other.Close()
	add := func(k keys.Key) (keys.Key, string) {
		t.Helper()
		made, text, err := one.Add(ctx, k, tree(t), "Lan")
		if err != nil {
			t.Fatal(err)
		}
		loatest.Eventually(t, "the key to be known to another process", func() bool { _, err := other.Get(made.ID); return err == nil })
		return made, text.Reveal()
	}
	paper, paperText := add(keys.Key{Kind: keys.KindPartner, Name: "Báo  An Hòa", Sites: []string{"quan"}, Rate: 5})
	cms, cmsText := add(keys.Key{Kind: keys.KindCMS, Name: "CMS", Sites: []string{"quan"}})

	t.Run("are stored as hashes", func(t *testing.T) {
		kv, err := js.KeyValue(ctx, streams.KeysBucket)
		if err != nil {
			t.Fatal(err)
		}
		e, err := kv.Get(ctx, "key."+paper.ID)
		if err != nil {
			t.Fatal(err)
		}
		if secret := paperText[strings.LastIndex(paperText, "_")+1:]; strings.Contains(string(e.Value()), secret) || len(secret) != 52 {
			t.Errorf("stored: %s", e.Value())
		}
		if paper.Name != "Báo An Hòa" || paper.Content != keys.ContentSummary || paper.By != "Lan" {
			t.Errorf("stored as %+v", paper)
		}
	})
	t.Run("open what they are for", func(t *testing.T) {
		got, err := other.Verify(paperText, keys.KindPartner)
		if err != nil || got.ID != paper.ID || got.Rate != 5 {
			t.Errorf("%+v, %v", got, err)
		}
		for _, text := range []string{"", "loa_", "loa__", paperText + "a", paperText[:len(paperText)-1], strings.ToUpper(paperText), " " + paperText,
			"loa_aaaaaaaaaaaa_" + paperText[17:], strings.Replace(paperText, paper.ID, cms.ID, 1), cmsText, strings.Repeat("x", 1<<20)} {
			if _, err := other.Verify(text, keys.KindPartner); !errors.Is(err, keys.ErrUnknown) {
				t.Errorf("%.80q: %v", text, err)
			}
		}
		for _, c := range []struct {
			k     keys.Key
			sites string
		}{{paper, "quan phuong"}, {cms, "quan"}, {keys.Key{Kind: keys.KindPartner}, "thanh-pho quan phuong"}} {
			var covered []string
			for _, id := range []string{"thanh-pho", "quan", "phuong"} {
				if c.k.Covers(tree(t), id) {
					covered = append(covered, id)
				}
			}
			if got := strings.Join(covered, " "); got != c.sites {
				t.Errorf("%s covers %s, expected %s", c.k.Kind, got, c.sites)
			}
		}
	})
	t.Run("are refused with every fault", func(t *testing.T) {
		_, _, err := one.Add(ctx, keys.Key{Kind: keys.KindPartner, Content: "all", Sites: []string{"xa"}, Rate: -1}, tree(t), "Lan")
		for _, want := range []string{"name: found 0", `content: found "all"`, `"xa" is not one of the sites`, "rate: found -1"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("no word of %q in: %v", want, err)
			}
		}
		if _, _, err := one.Add(ctx, keys.Key{Kind: keys.KindCMS, Name: "x"}, nil, "Lan"); err == nil {
			t.Error("a CMS's key for no site")
		}
	})
	t.Run("remember their last use", func(t *testing.T) {
		if _, err := one.Verify(cmsText, keys.KindCMS); err != nil {
			t.Fatal(err)
		}
		one.Close()
		loatest.Eventually(t, "its use to be known to another process", func() bool { return time.Since(other.LastUse(cms.ID)) < time.Hour })
	})
	t.Run("open nothing once they are revoked", func(t *testing.T) {
		revoked, err := other.Revoke(ctx, paper.ID, "Minh")
		if err != nil || revoked.Revoked == nil || revoked.Revoked.By != "Minh" {
			t.Fatalf("%+v, %v", revoked, err)
		}
		loatest.Eventually(t, "the revocation to be known", func() bool {
			_, err := other.Verify(paperText, keys.KindPartner)
			return errors.Is(err, keys.ErrUnknown)
		})
		if other.Valid(paper.ID) || !other.Valid(cms.ID) {
			t.Error("valid after the revocation")
		}
		again, err := other.Revoke(ctx, paper.ID, "Lan")
		if err != nil || again.Revoked.By != "Minh" {
			t.Errorf("revoked again: %+v, %v", again, err)
		}
		if _, err := other.Revoke(ctx, "khong-co", "Lan"); !errors.Is(err, keys.ErrNotFound) {
			t.Errorf("revoked one that never was: %v", err)
		}
		if all := other.All(); len(all) != 2 {
			t.Errorf("%d keys are on record", len(all))
		}
	})
}

// What was revoked while a process could not be told must not open anything when NATS is back.
func TestNobodyIsLetInWhileRevocationsCannotBeKnown(t *testing.T) {
	t.Parallel()
	srv, js := loatest.ServedNATS(t)
	ctx := t.Context()
	near, err := keys.Open(ctx, js, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	k, text, err := near.Add(ctx, keys.Key{Kind: keys.KindPartner, Name: "Báo"}, nil, "Lan")
	if err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	link := faultproxy.StartLink(t, address.Host)
	nc, err := nats.Connect("nats://"+link.Addr, append(srv.Credentials().Loa.Options(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	far, err := keys.Open(ctx, loatest.JetStream(t, nc), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	verify := func() error { _, err := far.Verify(text.Reveal(), keys.KindPartner); return err }
	if err := verify(); err != nil {
		t.Fatal(err)
	}

	link.Cut()
	loatest.Eventually(t, "the connection to be lost", func() bool { return errors.Is(verify(), keys.ErrUnavailable) })
	if far.Valid(k.ID) {
		t.Error("valid without NATS")
	}
	if _, err := near.Revoke(ctx, k.ID, "Lan"); err != nil {
		t.Fatal(err)
	}
	link.Restore()
	loatest.Eventually(t, "the revocation to be known", func() bool {
		err := verify()
		if err == nil {
			t.Fatal("a revoked key was let in")
		}
		return errors.Is(err, keys.ErrUnknown)
	})
}
