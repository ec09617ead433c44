package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/bulletin"
)

// check is one thing that a receiver is to do. Each has articles of its own, so that none
// depends on another's outcome.
type check struct {
	name   string
	level  Level
	title  string // what is to hold
	advice string // what to do where it does not
	do     func(context.Context, *session) error
}

// beyond is how far a timestamp lies outside of what is tolerated, or inside.
const beyond = time.Minute

// checks are in the order in which they are tried. The last leaves nothing shown.
var checks = []check{
	{"ping", Must, "a loa.ping is answered 2xx", "Answer 2xx to every bulletin whose signature is good, whatever its type; if it was refused as unsigned, compare the secrets first.",
		func(ctx context.Context, s *session) error { return s.taken(ctx, s.ping()) }},
	{"good-signature", Must, "a signed bulletin is taken", "Verify HMAC-SHA256 over <webhook-id>.<webhook-timestamp>.<body>, over the bytes of the body as they came, keyed with the bytes that follow whsec_ in base64.",
		func(ctx context.Context, s *session) error {
			a := s.article("good", 1)
			return first(s.told(ctx, a), func() error { return s.shows(ctx, a) })
		}},
	{"wrong-signature", Must, "a bulletin signed with another secret is refused", "Refuse, with 401, what no signature of the header matches: anybody could have sent it.",
		forged("wrong", post{secrets: []string{events.NewSecret()}})},
	{"missing-signature", Must, "a bulletin without a signature is refused", "Refuse, with 401, a request that lacks one of the three webhook headers.",
		forged("unsigned", post{spoil: func(r *http.Request) { r.Header.Del(events.HeaderSignature) }})},
	{"changed-body", Must, "a body that was changed after it was signed is refused", "Compute the signature over the body that came; do not trust the header alone.",
		func(ctx context.Context, s *session) error {
			a := s.article("changed", 1)
			d, err := bulletin.Render(a, testSite, s.o.Form)
			if err != nil {
				return err
			}
			body := bytes.ReplaceAll(d.Body, []byte("Tin kiểm tra"), []byte("Tin giả mạo"))
			return s.forge(ctx, a, post{spoil: func(r *http.Request) { replaceBody(r, body) }})
		}},
	{"changed-id", Must, "another webhook-id than the signed one is refused", "Sign over id and timestamp too, not over the body alone.",
		forged("renamed", post{spoil: func(r *http.Request) { r.Header.Set(events.HeaderID, r.Header.Get(events.HeaderID)+"x") }})},
	{"old-timestamp", Must, "a timestamp of more than five minutes ago is refused", "Refuse, with 401, a webhook-timestamp more than five minutes old: the request may be a recorded one.",
		forged("old", post{age: events.Tolerance + beyond})},
	{"future-timestamp", Must, "a timestamp more than five minutes ahead is refused", "Refuse, with 401, a webhook-timestamp more than five minutes ahead: such a request could be played again for long.",
		forged("future", post{age: -events.Tolerance - beyond})},
	{"clock-skew", Should, "a timestamp four minutes off is taken", "Tolerate five minutes, or a clock that is a little wrong stops all bulletins.",
		func(ctx context.Context, s *session) error {
			ping := s.ping()
			ping.age = events.Tolerance - beyond
			behind := s.taken(ctx, ping)
			ping.age = -ping.age
			return errors.Join(behind, s.taken(ctx, ping))
		}},
	{"refused-401", Should, "what is not signed rightly is answered 401", "Answer 401: an operator of Loa then sees at once that the secrets differ.",
		func(ctx context.Context, s *session) error {
			ping := s.ping()
			ping.secrets = []string{events.NewSecret()}
			a, err := s.post(ctx, ping)
			if err == nil && a.status != http.StatusUnauthorized {
				err = errors.New(a.String())
			}
			return err
		}},
	{"two-signatures", Must, "one good signature among several is enough, wherever it stands", "Split webhook-signature at spaces and try each: Loa sends two while a secret is replaced.",
		func(ctx context.Context, s *session) error {
			other := events.NewSecret()
			for _, secrets := range [][]string{{s.o.Secret, other}, {other, s.o.Secret}} {
				ping := s.ping()
				ping.secrets = secrets
				if err := s.taken(ctx, ping); err != nil {
					return err
				}
			}
			return nil
		}},
	{"unknown-signature", Must, "a signature of a version that is not known is passed over", "Ignore the signatures whose version is not v1, and try the others.",
		func(ctx context.Context, s *session) error {
			ping := s.ping()
			ping.spoil = func(r *http.Request) {
				r.Header.Set(events.HeaderSignature, "v9,bm90IGtub3du "+r.Header.Get(events.HeaderSignature))
			}
			return s.taken(ctx, ping)
		}},
	{"repeat", Must, "a repeat is answered 2xx and changes nothing", "Answer 2xx to a version that is held already: delivery is at least once.",
		func(ctx context.Context, s *session) error {
			a := s.article("repeat", 1)
			p := post{id: "msg_" + s.run + "repeat"}
			for range 3 {
				if err := s.tell(ctx, a, p); err != nil {
					return err
				}
			}
			return s.shows(ctx, a)
		}},
	{"update", Must, "a newer version replaces the one held", "Keep the bulletin with the greater version under the same guid.",
		func(ctx context.Context, s *session) error {
			a, b := s.article("update", 9), s.article("update", 10) // which as text is the smaller
			return first(s.told(ctx, a, b), func() error { return s.shows(ctx, b) })
		}},
	{"revision", Must, "a newer revision of the same version replaces the one held", "Compare revision where the versions are equal.",
		func(ctx context.Context, s *session) error {
			a, b := s.article("revision", 1), s.article("revision", 1)
			b.Revision, b.Title = 1, "Tin kiểm tra, bản 1.1: xin bỏ qua"
			return first(s.told(ctx, a, b), func() error { return s.shows(ctx, b) })
		}},
	{"large-version", Must, "a version of 2^53-1 is kept exactly", "Keep version as an integer of 64 bits.",
		func(ctx context.Context, s *session) error {
			const most = 1<<53 - 1
			a, b := s.article("version", most-2), s.article("version", most-1)
			return first(s.told(ctx, a, b), func() error { return s.shows(ctx, b) })
		}},
	{"correction", Must, "a correction replaces what it corrects", "Treat a correction as any newer version; show its text beside the article.",
		func(ctx context.Context, s *session) error {
			a, b := s.article("correction", 1), s.article("correction", 2)
			b.Correction = "Bản trước ghi nhầm giờ."
			return first(s.told(ctx, a, b), func() error { return s.shows(ctx, b) })
		}},
	{"older-after-newer", Must, "an older version that comes late is answered 2xx and not kept", "Compare (version, revision) with what is held before you write, in one transaction.",
		func(ctx context.Context, s *session) error {
			a, b := s.article("older", 2), s.article("older", 3)
			return first(s.told(ctx, b, a), func() error { return s.shows(ctx, b) })
		}},
	{"withdrawal", Must, "a withdrawn article is shown no more", "Show nothing of an article whose newest bulletin is article.withdrawn.",
		func(ctx context.Context, s *session) error {
			a, b := s.article("withdrawal", 1), s.withdrawal("withdrawal", 2)
			return first(s.told(ctx, a, b), func() error { return s.hides(ctx, b) })
		}},
	{"older-after-withdrawal", Must, "an older version does not bring a withdrawn article back", "Keep guid and version of what was withdrawn; do not delete its row.",
		func(ctx context.Context, s *session) error {
			a, b := s.article("back", 1), s.withdrawal("back", 2)
			return first(s.told(ctx, a, b, a), func() error { return s.hides(ctx, b) })
		}},
	{"unknown-withdrawal", Must, "the withdrawal of an article never received is answered 2xx, and kept", "Answer 2xx, and note the withdrawal: an older version of the article may still come.",
		func(ctx context.Context, s *session) error {
			a, b := s.article("unknown", 1), s.withdrawal("unknown", 2)
			return first(s.told(ctx, b, a), func() error { return s.hides(ctx, b) })
		}},
	{"published-again", Must, "a newer version brings a withdrawn article back", "Let the newest bulletin decide, whatever was held before.",
		func(ctx context.Context, s *session) error {
			b := s.article("again", 3)
			return first(s.told(ctx, s.article("again", 1), s.withdrawal("again", 2), b), func() error { return s.shows(ctx, b) })
		}},
	{"digest", Must, "a digest is answered 2xx", "Answer 2xx to loa.digest, even if you asked for none.",
		func(ctx context.Context, s *session) error { _, _, err := s.digest(ctx, "digest"); return err }},
	{"digest-articles", Should, "each article of a digest is treated as if it had come singly", "Take a digest apart and handle data.articles one by one; it is a must where digests were asked for.",
		func(ctx context.Context, s *session) error {
			if s.o.State == "" {
				return errUnseen
			}
			shown, hidden, err := s.digest(ctx, "articles")
			return first(err, func() error { return first(s.shows(ctx, shown), func() error { return s.hides(ctx, hidden) }) })
		}},
	{"unknown-field", Must, "a field that is not known is passed over", "Ignore what you do not know: it comes from a newer Loa.",
		func(ctx context.Context, s *session) error {
			a := s.article("field", 1)
			d, err := bulletin.Render(a, testSite, s.o.Form)
			if err != nil {
				return err
			}
			d.Body = extended(d.Body)
			return first(s.tell(ctx, a, post{Document: d}), func() error { return s.shows(ctx, a) })
		}},
	{"unknown-type", Must, "a type that is not known is answered 2xx", "Answer 2xx and ignore it, or Loa sends it again and again.",
		func(ctx context.Context, s *session) error {
			return s.taken(ctx, jsonPost(map[string]any{"type": "loa.of-a-newer-loa", "timestamp": time.Now(), "data": map[string]any{"x": 1}}))
		}},
	{"manifest", May, "a manifest is answered with what is held", "Answer a loa.manifest with the versions, statuses and hashes of what is held in its range, or with 204 alone.",
		func(ctx context.Context, s *session) error {
			a, gone := s.article("manifest", 1), s.withdrawal("manifest-gone", 2)
			if err := s.told(ctx, a, s.article("manifest-gone", 1), gone); err != nil {
				return err
			}
			return errors.Join(s.lists(ctx, a), s.lists(ctx, gone))
		}},
	{"manifest-forged", May, "whoever else asks is not told what is held", "Verify the signature of a manifest before it is answered, as that of any bulletin.",
		func(ctx context.Context, s *session) error {
			if _, err := s.ask(ctx, s.article("manifest", 1), post{}); err != nil {
				return err
			}
			_, err := s.ask(ctx, s.article("manifest", 1), post{secrets: []string{events.NewSecret()}})
			if err == nil {
				return errors.New(s.last)
			}
			return nil
		}},
	{"same-version", May, "a bulletin of the version held replaces another content, where manifests are answered", "Compare the hash of the content where version and revision are equal, and keep what came last.",
		func(ctx context.Context, s *session) error {
			a, b := s.article("same", 1), s.article("same", 1)
			b.Title = "Tin kiểm tra, bản 1, được sửa lại: xin bỏ qua"
			if _, err := s.ask(ctx, a, post{}); err != nil {
				return err
			}
			return first(s.told(ctx, a, b), func() error { return first(s.lists(ctx, b), func() error { return s.shows(ctx, b) }) })
		}},
	{"vietnamese", Must, "Vietnamese text, symbols and marks of HTML are kept as they are", "Use UTF-8 throughout (in MySQL utf8mb4), and escape text where it is shown, not where it is kept.",
		func(ctx context.Context, s *session) error {
			a := s.article("tieng-viet", 1)
			a.Title = "Ủy ban nhân dân phường Hoa Mai: “Nghỉ lễ” & <b>trực Tết</b> — kiểm tra, xin bỏ qua 📢"
			return first(s.told(ctx, a), func() error { return s.shows(ctx, a) })
		}},
	{"large-body", Must, "a bulletin of 1 MiB is taken", "Take bodies of up to 1 MiB; many servers refuse them until they are told to.",
		func(ctx context.Context, s *session) error {
			a := s.article("large", 1)
			d, err := large(a, s.o.Form)
			if err != nil {
				return err
			}
			return first(s.tell(ctx, a, post{Document: d}), func() error { return s.shows(ctx, a) })
		}},
	{"at-once", Must, "bulletins about several articles are taken at the same time", "Do not fail on locks: wait for them, or answer 503 and Loa sends again.",
		func(ctx context.Context, s *session) error {
			var g errgroup.Group
			var all []*article.Article
			for i := range atOnce {
				a := s.article(fmt.Sprint("at-once-", i), 1)
				all = append(all, a)
				g.Go(func() error { return s.told(ctx, a) })
			}
			err := g.Wait()
			for _, a := range all {
				err = first(err, func() error { return s.shows(ctx, a) })
			}
			return err
		}},
	{"keep-alive", Should, "a connection is used for more than one bulletin", "Leave the connection open after an answer; a new one for each costs both sides most of the time.",
		func(ctx context.Context, s *session) error {
			var a answer
			for range 3 { // the first may open it, and a server may close one at any time
				var err error
				if a, err = s.post(ctx, s.ping()); err != nil {
					return err
				}
				if a.reused {
					return nil
				}
			}
			return fmt.Errorf("%s, each time on a new connection", a)
		}},
	{"withdrawn-in-the-end", Must, "everything that this run sent can be withdrawn", "See withdrawal; articles named “Tin kiểm tra” may be left, and can be deleted.",
		func(ctx context.Context, s *session) error {
			var gone []*article.Article
			var fault error
			left := 0
			noted := func(err error) {
				if err != nil {
					fault = err
					left++
				}
			}
			for _, guid := range slices.Sorted(maps.Keys(s.sent)) {
				b := withdrawn(s.sent[guid])
				b.Number, b.Revision = b.Number+1, 0
				if err := s.told(ctx, b); err != nil {
					noted(err)
					continue
				}
				gone = append(gone, b)
			}
			for _, b := range gone { // now that the large one is not listed any more
				noted(s.hides(ctx, b))
			}
			if left > 0 {
				return fmt.Errorf("%d of %d articles are left; the last: %w", left, len(s.sent), fault)
			}
			s.last = fmt.Sprintf("%d articles withdrawn", len(s.sent))
			return nil
		}},
	{"in-time", Must, "no answer takes longer than Loa waits", "Store the bulletin, answer, and do the slow things afterwards.",
		func(_ context.Context, s *session) error {
			s.last = fmt.Sprintf("the slowest answer took %v", s.slowest.Round(time.Millisecond))
			if s.timeout {
				return fmt.Errorf("at least one answer did not come within %v", s.o.Timeout)
			}
			return nil
		}},
	{"fast", Should, "every answer comes within a third of that", "Do less before you answer: Loa has others to tell meanwhile, and a busy day makes you slower.",
		func(_ context.Context, s *session) error {
			s.last = fmt.Sprintf("the slowest answer took %v", s.slowest.Round(time.Millisecond))
			if s.timeout || s.slowest > s.o.Timeout/3 {
				return errors.New(s.last)
			}
			return nil
		}},
}

// atOnce is twice as many bulletins as Loa has under way to one portal by default.
const atOnce = 8

// first is err, or if there is none what then gives.
func first(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}

// forged is a check that an article sent as p is refused, and not held.
func forged(name string, p post) func(context.Context, *session) error {
	return func(ctx context.Context, s *session) error { return s.forge(ctx, s.article(name, 1), p) }
}

func (s *session) forge(ctx context.Context, a *article.Article, p post) error {
	d, err := bulletin.Render(a, testSite, s.o.Form)
	if err != nil {
		return err
	}
	p.Document = d
	if err := s.refused(ctx, p); err != nil {
		s.note(a) // it may be shown
		return err
	}
	err = s.lacks(ctx, a)
	if err != nil {
		s.note(a)
	}
	return err
}

// digest sends one with a new article and the withdrawal of one sent before.
func (s *session) digest(ctx context.Context, name string) (shown, hidden *article.Article, err error) {
	shown, hidden = s.article(name+"-shown", 1), s.withdrawal(name+"-hidden", 2)
	if err := s.told(ctx, s.article(name+"-hidden", 1)); err != nil {
		return nil, nil, err
	}
	s.note(shown)
	s.note(hidden)
	d := events.Digest{Type: events.BulletinDigest, Timestamp: time.Now()}
	for _, a := range []*article.Article{shown, hidden} {
		d.Data.Articles = append(d.Data.Articles, bulletin.New(a, testSite.Name).Data)
	}
	return shown, hidden, s.taken(ctx, jsonPost(d))
}

// extended adds what no receiver knows to a document of any form.
func extended(body []byte) []byte {
	if rest, isObject := bytes.CutPrefix(body, []byte(`{`)); isObject {
		return append([]byte(`{"of_a_newer_loa":{"x":[1,null]},`), rest...)
	}
	end := bytes.LastIndex(body, []byte("</entry>"))
	if end < 0 {
		return body
	}
	const unknown = `<x:newer xmlns:x="urn:example:of-a-newer-loa" a="1"><x:x>1</x:x></x:newer>`
	return append(append(bytes.Clone(body[:end]), unknown...), body[end:]...)
}

// lengths are what is left for fields that count characters.
const lengths = 256

// large makes a document of nearly the greatest size. A summary has no field that is large
// enough: there it is a body, that a receiver of summaries does not know.
func large(a *article.Article, f bulletin.Form) (bulletin.Document, error) {
	if f == bulletin.Summary {
		f = bulletin.Full
	}
	b := *a
	d, err := bulletin.Render(&b, testSite, f)
	if err != nil {
		return d, err
	}
	room := events.MaxBulletinBytes - lengths - len(d.Body)
	b.Body += strings.Repeat("Loa loa loa loa ", room/16)
	return bulletin.Render(&b, testSite, f)
}

// replaceBody has another body sent than the one that was signed.
func replaceBody(r *http.Request, body []byte) {
	fresh, err := http.NewRequest(r.Method, r.URL.String(), bytes.NewReader(body))
	if err != nil {
		panic(err) // the address was parsed before
	}
	r.Body, r.GetBody, r.ContentLength = fresh.Body, fresh.GetBody, fresh.ContentLength
}
