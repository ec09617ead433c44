package intake_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/loatest/faultproxy"
	"github.com/loa-syndication/loa/internal/objects"
	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/intake"
)

const siteID = "an-khanh"

// bench is everything around an intake: NATS, S3 behind a proxy, a CMS, scripted pictures.
type bench struct {
	testing.TB
	js       jetstream.JetStream
	objects  *objects.Store
	s3       *faultproxy.Proxy
	log      *streams.Log
	dead     *streams.Dead
	schedule *streams.Schedule
	cms      *events.Publisher
	pictures *pictures
	counts   *prometheus.Registry // of all intakes that ran
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{TB: t, js: loatest.NATS(t), pictures: &pictures{script: map[string][]answer{}, asked: map[string]int{}}, counts: prometheus.NewRegistry()}
	b.objects, b.s3 = loatest.ProxiedObjects(t)
	var err error
	if b.log, err = streams.OpenLog(t.Context(), b.js); err != nil {
		t.Fatal(err)
	}
	if b.dead, err = streams.OpenDead(t.Context(), b.js); err != nil {
		t.Fatal(err)
	}
	b.schedule = streams.NewSchedule(b.js)
	b.cms = events.NewPublisher(b.js)
	return b
}

// start is newBench with an intake that runs.
func start(t testing.TB, change ...func(*intake.Options)) *bench {
	t.Helper()
	b := newBench(t)
	b.run(func(o *intake.Options) {
		o.Metrics = b.counts
		for _, c := range change {
			c(o)
		}
	})
	return b
}

// run starts an intake; stop ends it, as the end of the test does.
func (b *bench) run(change ...func(*intake.Options)) (stop func()) {
	b.Helper()
	sites, err := site.New([]site.Site{{ID: "tp"}, {ID: siteID, Parent: "tp"}, {ID: "thu-thiem", Parent: "tp"}})
	if err != nil {
		b.Fatal(err)
	}
	o := intake.Options{JS: b.js, Sites: sites, Pictures: b.pictures, Objects: b.objects, Retry: 20 * time.Millisecond}
	for _, c := range change {
		c(&o)
	}
	in, err := intake.New(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.Errorf("run: %v", err)
		}
	})
	b.Cleanup(stop)
	loatest.Reading(b, b.js, streams.Events, "intake")
	loatest.Reading(b, b.js, streams.Schedules, "due-articles")
	return stop
}

func snapshot(id string, version int64, change ...func(*events.Article)) events.Event {
	published := time.Date(2026, 10, 1, 7, 30, 0, 0, time.FixedZone("+07", 7*3600))
	a := events.Article{
		Site: siteID, ID: id, Version: version, URL: "https://an-khanh.example.vn/tin/" + fmt.Sprint(len(id)),
		Title:      fmt.Sprintf("Lịch cắt điện, bản %d", version),
		Body:       fmt.Sprintf("<p>Phường An Khánh thông báo lịch cắt điện tuần này, bản số %d.</p>", version),
		Published:  published,
		Categories: []events.Category{{ID: "thong-bao", Label: "Thông báo"}},
	}
	for _, c := range change {
		c(&a)
	}
	return events.NewPublished("https://cms.example.vn", a)
}

func withdrawal(id string, version int64) events.Event {
	return events.NewWithdrawn("https://cms.example.vn", events.Withdrawal{
		Site: siteID, ID: id, Version: version, Reason: "Nội dung không chính xác", Status: events.WithdrawnGone,
		WithdrawnAt: time.Date(2026, 10, 2, 8, 0, 0, 0, time.UTC),
	})
}

// again is the same event under another id: JetStream would not store it twice otherwise.
func again(ev events.Event) events.Event {
	ev.ID += "-again"
	return ev
}

func (b *bench) publish(all ...events.Event) {
	b.Helper()
	for _, ev := range all {
		if _, err := b.cms.Publish(b.Context(), ev); err != nil {
			b.Fatal(err)
		}
	}
}

// raw publishes what no publisher would.
func (b *bench) raw(subject string, data []byte) {
	b.Helper()
	if _, err := b.js.PublishMsg(b.Context(), &nats.Msg{Subject: subject, Data: data}); err != nil {
		b.Fatalf("publish on %.80q: %v", subject, err)
	}
}

// take publishes the events and waits until they are dealt with.
func (b *bench) take(all ...events.Event) {
	b.Helper()
	b.publish(all...)
	b.settled()
}

// settled waits until no event is left in the inbox, and nothing that is due.
func (b *bench) settled() {
	b.Helper()
	loatest.Eventually(b, "the inbox is read", func() bool {
		return loatest.Left(b, b.js, streams.Events, "intake") == 0 && b.due() == 0
	})
}

// due is for how many articles something is due; what is dealt with leaves the stream.
func (b *bench) due() int {
	b.Helper()
	s, err := b.js.Stream(b.Context(), streams.Schedules)
	if err != nil {
		b.Fatal(err)
	}
	info, err := s.Info(b.Context(), jetstream.WithSubjectFilter("loa.due.>"))
	if err != nil {
		b.Fatal(err)
	}
	return len(info.State.Subjects)
}

// article is what the log holds; nil if nothing.
func (b *bench) article(id string) *article.Article {
	b.Helper()
	e, err := b.log.Latest(b.Context(), streams.KeyOf(siteID, id))
	if errors.Is(err, streams.ErrNotFound) {
		return nil
	}
	if err != nil {
		b.Fatal(err)
	}
	return e.Article
}

// becomes waits until the article is at a version.
func (b *bench) becomes(id, version string) *article.Article {
	b.Helper()
	var a *article.Article
	loatest.Eventually(b, id+" is at version "+version, func() bool {
		a = b.article(id)
		return a != nil && a.Version.String() == version
	})
	return a
}

// stays fails unless the article is at a version; "" says that it is not in the log.
func (b *bench) stays(id, version string) {
	b.Helper()
	got := ""
	if a := b.article(id); a != nil {
		got = a.Version.String()
	}
	if got != version {
		b.Errorf("%s is at version %q, want %q", id, got, version)
	}
}

// storeEqualsLog holds every article's copy in S3 against the log, and gives how many there are.
func (b *bench) storeEqualsLog() (n int) {
	b.Helper()
	stream, err := b.js.Stream(b.Context(), streams.Articles)
	if err != nil {
		b.Fatal(err)
	}
	for e, err := range b.log.Walk(b.Context(), "*", 0) {
		if err != nil {
			b.Fatal(err)
		}
		n++
		inLog, err := stream.GetMsg(b.Context(), e.Seq)
		if err != nil {
			b.Fatal(err)
		}
		o, err := b.objects.Get(b.Context(), e.Key.Object(), 8<<20)
		if err != nil {
			b.Errorf("copy of %s: %v", e.Key, err)
		} else if !bytes.Equal(o.Body, inLog.Data) {
			b.Errorf("copy of %s:\n%s\nthe log has\n%s", e.Key, o.Body, inLog.Data)
		}
	}
	stored := 0
	for _, err := range b.objects.List(b.Context(), "articles/") {
		if err != nil {
			b.Fatal(err)
		}
		stored++
	}
	if stored != n {
		b.Errorf("%d articles in S3, %d in the log", stored, n)
	}
	return n
}

func (b *bench) letters() (all []streams.DeadLetter) {
	b.Helper()
	for l, err := range b.dead.List(b.Context(), "", "") {
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// letter is the only dead letter.
func (b *bench) letter() streams.DeadLetter {
	b.Helper()
	all := b.letters()
	if len(all) != 1 {
		b.Fatalf("%d dead letters, want 1: %+v", len(all), all)
	}
	return all[0]
}

func (b *bench) noLetters() {
	b.Helper()
	for _, l := range b.letters() {
		b.Errorf("dead letter: %s %s: %s %q", l.Stage, l.Key, l.Reason, l.Faults)
	}
}

// count is how many messages had an outcome.
func (b *bench) count(outcome string) int {
	b.Helper()
	families, err := b.counts.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "loa_intake_events_total" && m.GetLabel()[0].GetValue() == outcome {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	b.Fatalf("no outcome %q is counted", outcome)
	return 0
}

// answer is what asking for a picture once leads to.
type answer func(ctx context.Context, img events.Image) (article.Image, error)

// pictures answers as its script says, by address or "cid:" and content id; the last answer
// goes on for ever. What the script does not name is there.
type pictures struct {
	mu     sync.Mutex
	script map[string][]answer
	asked  map[string]int
}

var errNoPicture = errors.New("HTTP 404: không tìm thấy")

func (p *pictures) Permanent(err error) bool { return errors.Is(err, errNoPicture) }

func (p *pictures) set(picture string, answers ...answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script[picture] = answers
}

func (p *pictures) Store(ctx context.Context, img events.Image) (article.Image, error) {
	name := img.URL
	if name == "" {
		name = "cid:" + img.ContentID
	}
	p.mu.Lock()
	p.asked[name]++
	next := there
	if s := p.script[name]; len(s) > 0 {
		next = s[0]
		p.script[name] = s[min(1, len(s)-1):]
	}
	p.mu.Unlock()
	return next(ctx, img)
}

func (p *pictures) StoreFile(ctx context.Context, at events.Attachment) (article.Attachment, error) {
	img, err := p.Store(ctx, events.Image{URL: at.URL})
	kept := article.Attachment{Attachment: at}
	if err == nil {
		kept.Source, kept.SHA256, kept.URL = at.URL, img.SHA256, media(at.URL)+"/file.pdf"
	}
	return kept, err
}

func (p *pictures) times(picture string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[picture]
}

// there stores the picture.
func there(_ context.Context, img events.Image) (article.Image, error) {
	key := media(img.URL + img.ContentID)
	out := article.Image{Image: img, SHA256: key[len("loa-media:media/"):]}
	out.Original = events.Rendition{URL: key + "/original.jpg", MediaType: "image/jpeg", Width: 1600, Height: 1200}
	for _, w := range []int{320, 640, 1280} {
		for _, format := range []string{"jpeg", "webp"} {
			out.Renditions = append(out.Renditions, events.Rendition{
				URL: fmt.Sprintf("%s/w%d.%s", key, w, format), MediaType: "image/" + format, Width: w, Height: w * 3 / 4})
		}
	}
	return out, nil
}

// media is the address under which a picture is stored.
func media(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "loa-media:media/" + hex.EncodeToString(sum[:])
}

func failing(err error) answer {
	return func(context.Context, events.Image) (article.Image, error) { return article.Image{}, err }
}

// hanging answers when nobody waits any more.
func hanging(ctx context.Context, _ events.Image) (article.Image, error) {
	<-ctx.Done()
	return article.Image{}, fmt.Errorf("fetch: %w", ctx.Err())
}

func withPicture(url string) func(*events.Article) {
	return func(a *events.Article) {
		a.Images = append(a.Images, events.Image{URL: url, Role: events.RoleLead, Alt: "Trạm biến áp"})
		a.Body += fmt.Sprintf(`<figure><img src="%s"><figcaption>Trạm biến áp</figcaption></figure>`, url)
	}
}

func ids(images []article.Image, ok func(article.Image) bool) (names []string) {
	for _, img := range images {
		if ok(img) {
			names = append(names, img.URL+img.ContentID)
		}
	}
	slices.Sort(names)
	return names
}
