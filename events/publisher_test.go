package events_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
)

const (
	readyWithin = 10 * time.Second // a server on a busy machine
	testWithin  = 30 * time.Second
)

// startServer runs a NATS server with JetStream on disk, on a free port unless options name one.
func startServer(t testing.TB, change func(*server.Options)) *server.Server {
	t.Helper()
	options := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 64 << 20, JetStreamMaxMemory: 1 << 20,
		MaxPayload: 8 << 20,
	}
	if change != nil {
		change(options)
	}
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(readyWithin) {
		t.Fatal("NATS server is not ready")
	}
	return s
}

func connect(t testing.TB, url string, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, append(options, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func createStream(t testing.TB, js jetstream.JetStream, change func(*jetstream.StreamConfig)) {
	t.Helper()
	config := jetstream.StreamConfig{Name: events.Stream, Subjects: []string{events.SubjectPrefix + ">"}, Duplicates: time.Hour}
	if change != nil {
		change(&config)
	}
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	if _, err := js.CreateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testWithin)
	t.Cleanup(cancel)
	return ctx
}

func TestPublishedEventIsStoredOnceAndReadable(t *testing.T) {
	js := connect(t, startServer(t, nil).ClientURL())
	createStream(t, js, nil)
	ctx, pub := testContext(t), events.NewPublisher(js)
	e := events.NewPublished(source, fullArticle())

	ack, err := pub.Publish(ctx, e)
	if err != nil || ack != (events.Ack{Stream: "EVENTS", Sequence: 1}) {
		t.Fatalf("first: %+v, %v", ack, err)
	}
	ack, err = pub.Publish(ctx, e)
	if err != nil || ack != (events.Ack{Stream: "EVENTS", Sequence: 1, Duplicate: true}) {
		t.Fatalf("repeat: %+v, %v", ack, err)
	}

	stream, err := js.Stream(ctx, events.Stream)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := stream.GetMsg(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if stored.Subject != "loa.event.phuong-hoa-mai.2026-1142" || stored.Header.Get("Nats-Msg-Id") != e.ID {
		t.Errorf("stored on %s with header %v", stored.Subject, stored.Header)
	}
	got, err := events.Parse(stored.Header, stored.Data)
	if err != nil || got.Digest != e.Digest {
		t.Errorf("read back: %v, digest %s, want %s", err, got.Digest, e.Digest)
	}
}

func TestInvalidEventIsRefusedBeforeItIsSent(t *testing.T) {
	js := connect(t, startServer(t, nil).ClientURL()) // no stream: whatever is sent goes nowhere
	for name, e := range map[string]events.Event{
		"no title":      events.NewPublished(source, func() events.Article { a := fullArticle(); a.Title = ""; return a }()),
		"not UTF-8":     events.NewPublished(source, func() events.Article { a := fullArticle(); a.Title = "Ph\xff"; return a }()),
		"no time":       events.NewPublished(source, func() events.Article { a := fullArticle(); a.Published = time.Time{}; return a }()),
		"year 20000":    events.NewPublished(source, func() events.Article { a := fullArticle(); a.Published = time.Unix(1<<40, 0); return a }()),
		"nothing in it": {ID: "1", Source: source, Type: events.TypePublished},
	} {
		_, err := events.NewPublisher(js).Publish(testContext(t), e)
		var refused *events.RefusedError
		var invalid *events.InvalidError
		if !errors.As(err, &refused) || !errors.As(err, &invalid) || errors.Is(err, events.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEventLargerThanTheServerTakesIsRefusedWithTheLimit(t *testing.T) {
	js := connect(t, startServer(t, func(o *server.Options) { o.MaxPayload = 64 << 10 }).ClientURL())
	createStream(t, js, nil)
	a := fullArticle()
	a.Body = strings.Repeat("x", 64<<10)
	_, err := events.NewPublisher(js).Publish(testContext(t), events.NewPublished(source, a))
	var refused *events.RefusedError
	if !errors.As(err, &refused) || !errors.Is(err, nats.ErrMaxPayload) || !strings.Contains(err.Error(), "at most 65536 (max_payload)") {
		t.Errorf("got %v", err)
	}
}

func TestRefusalsOfTheStreamArePermanent(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*jetstream.StreamConfig)
		reason string
	}{
		"event larger than the stream takes": {func(c *jetstream.StreamConfig) { c.MaxMsgSize = 512 }, "max_msg_size"},
		"subjects belong to another stream":  {func(c *jetstream.StreamConfig) { c.Name = "OTHER" }, "expected stream does not match"},
	} {
		t.Run(name, func(t *testing.T) {
			js := connect(t, startServer(t, nil).ClientURL())
			createStream(t, js, test.change)
			_, err := events.NewPublisher(js).Publish(testContext(t), events.NewPublished(source, fullArticle()))
			var refused *events.RefusedError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestForbiddenSubjectIsRefused(t *testing.T) {
	s := startServer(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "cms", Password: "cms", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{"loa.event.phuong-khac.>"}},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}}, {Username: "admin", Password: "admin"}}
	})
	createStream(t, connect(t, s.ClientURL(), nats.UserInfo("admin", "admin")), nil)
	js := connect(t, s.ClientURL(), nats.UserInfo("cms", "cms"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	pub := events.NewPublisher(js)
	events.SetAttemptTimeout(pub, 300*time.Millisecond)

	_, err := pub.Publish(testContext(t), events.NewPublished(source, fullArticle()))
	var refused *events.RefusedError
	if !errors.As(err, &refused) || !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a subject of another site: %v", err)
	}
	a := fullArticle()
	a.Site = "phuong-khac"
	if _, err := pub.Publish(testContext(t), events.NewPublished(source, a)); err != nil {
		t.Errorf("its own subject: %v", err)
	}
}

func TestPublishOutlastsARestartOfTheServer(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	same := func(o *server.Options) { o.StoreDir, o.Port = dir, port }
	s := startServer(t, same)
	js := connect(t, s.ClientURL())
	createStream(t, js, func(c *jetstream.StreamConfig) { c.Storage = jetstream.FileStorage })
	s.Shutdown()
	s.WaitForShutdown()

	// The server comes back once the publisher has seen that it is away.
	away := make(chan struct{}, 1)
	pub := events.NewPublisher(js, events.WithOnRetry(func(error, time.Duration) {
		select {
		case away <- struct{}{}:
		default:
		}
	}))
	events.SetAttemptTimeout(pub, 300*time.Millisecond)
	type result struct {
		ack events.Ack
		err error
	}
	done := make(chan result, 1)
	go func() {
		ack, err := pub.Publish(testContext(t), events.NewPublished(source, fullArticle()))
		done <- result{ack, err}
	}()
	<-away
	startServer(t, same)
	// Attempts that had waited in the connection's buffer may arrive first: the event is stored
	// once all the same.
	if r := <-done; r.err != nil || r.ack.Sequence != 1 {
		t.Errorf("got %+v, %v", r.ack, r.err)
	}
}

func TestMissingStreamIsAPassingFault(t *testing.T) {
	js := connect(t, startServer(t, nil).ClientURL())
	e := events.NewPublished(source, fullArticle())
	_, err := events.NewPublisher(js, events.WithRetryFor(200*time.Millisecond)).Publish(testContext(t), e)
	var refused *events.RefusedError
	if !errors.Is(err, events.ErrUnavailable) || errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
	// It appears while the publisher waits.
	created := false
	ack, err := events.NewPublisher(js, events.WithOnRetry(func(error, time.Duration) {
		if !created {
			createStream(t, js, nil)
			created = true
		}
	})).Publish(testContext(t), e)
	if err != nil || ack.Sequence != 1 {
		t.Errorf("got %+v, %v", ack, err)
	}
}

func TestFullStreamIsAPassingFault(t *testing.T) {
	js := connect(t, startServer(t, nil).ClientURL())
	createStream(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 1, jetstream.DiscardNew })
	pub := events.NewPublisher(js, events.WithRetryFor(200*time.Millisecond))
	if _, err := pub.Publish(testContext(t), events.NewPublished(source, fullArticle())); err != nil {
		t.Fatal(err)
	}
	_, err := pub.Publish(testContext(t), events.NewWithdrawn(source, smallWithdrawal()))
	if !errors.Is(err, events.ErrUnavailable) || !strings.Contains(err.Error(), "maximum messages exceeded") {
		t.Errorf("got %v", err)
	}
}

func TestPublishEndsWithItsContext(t *testing.T) {
	js := connect(t, startServer(t, nil).ClientURL())
	ctx, cancel := context.WithCancel(t.Context())
	_, err := events.NewPublisher(js, events.WithOnRetry(func(error, time.Duration) { cancel() })).
		Publish(ctx, events.NewPublished(source, fullArticle()))
	if !errors.Is(err, context.Canceled) || !errors.Is(err, events.ErrUnavailable) || !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("got %v", err)
	}
}

func TestClosedConnectionIsReportedAtOnce(t *testing.T) {
	js := connect(t, startServer(t, nil).ClientURL())
	js.Conn().Close()
	retried := false
	_, err := events.NewPublisher(js, events.WithOnRetry(func(error, time.Duration) { retried = true })).
		Publish(testContext(t), events.NewPublished(source, fullArticle()))
	if !errors.Is(err, events.ErrUnavailable) || !errors.Is(err, nats.ErrConnectionClosed) || retried {
		t.Errorf("got %v, retried %t", err, retried)
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
