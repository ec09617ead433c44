package streams_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/streams"
)

func openLog(t *testing.T, js jetstream.JetStream) *streams.Log {
	t.Helper()
	log, err := streams.OpenLog(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func put(t *testing.T, log *streams.Log, site, id string, version int64, last uint64) uint64 {
	t.Helper()
	seq, err := log.Put(t.Context(), &article.Article{Site: site, ID: id, Title: "Thông báo", Version: article.Version{Number: version}}, last)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func TestSetupMayBeRepeated(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	if err := streams.Setup(t.Context(), js, streams.Options{}); err != nil {
		t.Fatal(err)
	}
}

func TestTheLogHoldsOneVersionOfAnArticle(t *testing.T) {
	t.Parallel()
	log := openLog(t, loatest.NATS(t))
	first := put(t, log, "phuong", "a", 1, 0)
	second := put(t, log, "phuong", "a", 2, first)
	if second <= first {
		t.Errorf("sequence %d after %d", second, first)
	}
	got, err := log.Get(t.Context(), streams.KeyOf("phuong", "a"), second)
	if err != nil || got.Number != 2 || got.Seq != second {
		t.Errorf("got %+v, %v", got, err)
	}
	n := 0
	for e, err := range log.Walk(t.Context(), "*", 0) {
		if err != nil || e.Number != 2 {
			t.Errorf("walk gave %+v, %v", e, err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
}

func TestAWriterThatHasNotSeenTheLatestVersionIsRefused(t *testing.T) {
	t.Parallel()
	log := openLog(t, loatest.NATS(t))
	first := put(t, log, "phuong", "a", 1, 0)
	put(t, log, "phuong", "a", 2, first)
	for _, last := range []uint64{0, first} {
		if _, err := log.Put(t.Context(), &article.Article{Site: "phuong", ID: "a"}, last); !errors.Is(err, streams.ErrConflict) {
			t.Errorf("write over %d: %v, want a conflict", last, err)
		}
	}
}

func TestWhetherThereIsALaterVersion(t *testing.T) {
	t.Parallel()
	log := openLog(t, loatest.NATS(t))
	first := put(t, log, "phuong", "a", 1, 0)
	put(t, log, "phuong", "b", 1, 0)
	if _, err := log.After(t.Context(), "phuong.a", first); !errors.Is(err, streams.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	second := put(t, log, "phuong", "a", 2, first)
	if e, err := log.After(t.Context(), "phuong.a", first); err != nil || e.Seq != second || e.Number != 2 {
		t.Errorf("got %+v, %v, want version 2", e, err)
	}
}

func TestAnUnknownArticleIsNotFound(t *testing.T) {
	t.Parallel()
	log := openLog(t, loatest.NATS(t))
	for _, atLeast := range []uint64{0, 7} {
		if _, err := log.Get(t.Context(), "phuong.x", atLeast); !errors.Is(err, streams.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
	}
	if _, err := log.Latest(t.Context(), "phuong.x"); !errors.Is(err, streams.ErrNotFound) {
		t.Errorf("latest: %v, want ErrNotFound", err)
	}
}

func TestManyArticlesAreReadAtOnce(t *testing.T) {
	t.Parallel()
	log := openLog(t, loatest.NATS(t))
	var keys []streams.Key
	for i := range 1200 {
		id := fmt.Sprint("tin ", i) // not a token: goes by its hash
		put(t, log, "phuong", id, 1, 0)
		keys = append(keys, streams.KeyOf("phuong", id))
	}
	got, err := log.GetMany(t.Context(), append(keys, "phuong.none"))
	if err != nil || len(got) != 1200 {
		t.Fatalf("%d articles, %v; want 1200", len(got), err)
	}
	n := 0
	for e, err := range log.Walk(t.Context(), "phuong", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key != keys[n] {
			t.Fatalf("entry %d is %s, want %s", n, e.Key, keys[n])
		}
		n++
	}
	if n != 1200 {
		t.Errorf("walked %d articles, want 1200", n)
	}
}

func TestIDsThatAreNoTokensGoByTheirHash(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a.b.>", "*", "a b", "x\r\ny", "../../x", strings.Repeat("a", 65), ""} {
		subject := streams.ArticleSubject(streams.KeyOf("phuong", id))
		if !strings.HasPrefix(subject, "loa.article.phuong.h--") || strings.Count(subject, ".") != 3 || strings.ContainsAny(subject, " *>\r\n") {
			t.Errorf("id %q has subject %q", id, subject)
		}
	}
	if got := streams.KeyOf("phuong", "Tin_12-a"); got != "phuong.Tin_12-a" {
		t.Errorf("a safe id became %q", got)
	}
}

func TestFlagsOfOneTargetShareAPartition(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	ctx := t.Context()
	stream, err := js.Stream(ctx, streams.Flags)
	if err != nil {
		t.Fatal(err)
	}
	partitions := map[string]int{}
	for i := range 200 {
		target := fmt.Sprint("portal-", i)
		for _, key := range []string{"s.a", "s.b"} {
			if _, err := js.Publish(ctx, streams.FlagSubject(streams.Normal, "portal", target, key), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter("loa.flags.>"))
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]string{}
	for subject := range info.State.Subjects {
		p, err := streams.ParseFlag(subject)
		if err != nil {
			t.Fatal(err)
		}
		if was, ok := of[p.Target]; ok && was != p.Partition {
			t.Errorf("%s is in partitions %s and %s", p.Target, was, p.Partition)
		}
		of[p.Target] = p.Partition
		partitions[p.Partition]++
	}
	if len(of) != 200 || len(partitions) != streams.Partitions {
		t.Errorf("%d targets in %d partitions, want 200 in %d", len(of), len(partitions), streams.Partitions)
	}
}

func TestWhatIsScheduledBecomesDueNotEarly(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	ctx := t.Context()
	s := streams.NewSchedule(js)
	due, err := streams.DueConsumer(ctx, js)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(1300 * time.Millisecond)
	if err := s.At(ctx, streams.Embargo, "phuong.a", at, nats.Header{"Ce-Id": {"1"}, "Nats-Msg-Id": {"old"}}, []byte("event"), 0); err != nil {
		t.Fatal(err)
	}
	m, err := due.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if early := time.Until(at); early > 0 {
		t.Errorf("due %s early", early)
	}
	what, key, err := streams.DueParts(m.Subject())
	if err != nil || what != streams.Embargo || key != "phuong.a" || string(m.Data()) != "event" || m.Headers().Get("Ce-Id") != "1" {
		t.Errorf("due: %s %s %q %v, %v", what, key, m.Data(), m.Headers(), err)
	}
}

func TestALaterScheduleReplacesAnEarlierAndCanBeTakenBack(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	ctx := t.Context()
	s := streams.NewSchedule(js)
	for _, at := range []time.Duration{time.Hour, 2 * time.Hour} {
		if err := s.Set(ctx, streams.Expiry, "phuong.a", time.Now().Add(at), nil); err != nil {
			t.Fatal(err)
		}
	}
	w, err := s.Waiting(ctx, streams.Expiry, "phuong.a")
	if err != nil || w == nil {
		t.Fatalf("waiting: %v, %v", w, err)
	}
	if err := s.At(ctx, streams.Expiry, "phuong.a", time.Now().Add(time.Hour), nil, nil, w.Seq-1); !errors.Is(err, streams.ErrConflict) {
		t.Errorf("schedule over what was replaced: %v, want a conflict", err)
	}
	if err := s.Cancel(ctx, streams.Expiry, "phuong.a"); err != nil {
		t.Fatal(err)
	}
	if w, err := s.Waiting(ctx, streams.Expiry, "phuong.a"); err != nil || w != nil {
		t.Errorf("after it was taken back %v waits, %v", w, err)
	}
}

func TestADeadLetterKeepsTheMessageUntilItIsRetried(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	ctx := t.Context()
	dead, err := streams.OpenDead(ctx, js)
	if err != nil {
		t.Fatal(err)
	}
	subject := events.Subject("phuong", "a")
	if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: subject, Header: nats.Header{"Nats-Msg-Id": {"e1"}}, Data: []byte("{bad")}); err != nil {
		t.Fatal(err)
	}
	err = dead.Put(ctx, streams.DeadLetter{Stage: "intake", Key: "phuong.a", Reason: "không đọc được: " + strings.Repeat("x", 5000),
		Faults: slices.Repeat([]string{"fault"}, 50), Subject: subject, Header: nats.Header{"Nats-Msg-Id": {"e1"}, "Ce-Id": {"e1"}}, Data: []byte("{bad")})
	if err != nil {
		t.Fatal(err)
	}
	var all []streams.DeadLetter
	for l, err := range dead.List(ctx, "intake", "phuong.a") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	if len(all) != 1 || string(all[0].Data) != "{bad" || len(all[0].Reason) > 2100 || len(all[0].Faults) != 31 {
		t.Fatalf("listed: %+v", all)
	}
	if err := dead.Retry(ctx, all[0].Seq); err != nil {
		t.Fatal(err)
	}
	inbox, err := js.Stream(ctx, streams.Events)
	if err != nil {
		t.Fatal(err)
	}
	m, err := inbox.GetMsg(ctx, 2) // the same id did not make it a duplicate
	if err != nil || string(m.Data) != "{bad" || m.Header.Get("Ce-Id") != "e1" {
		t.Errorf("retried: %v, %v", m, err)
	}
	if _, err := dead.Get(ctx, all[0].Seq); !errors.Is(err, streams.ErrNoDeadLetter) {
		t.Errorf("after the retry: %v", err)
	}
}

func TestADeadLetterOfTheLargestEventIsReadFromTheInbox(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	ctx := t.Context()
	dead, err := streams.OpenDead(ctx, js)
	if err != nil {
		t.Fatal(err)
	}
	huge := []byte(strings.Repeat("x", int(js.Conn().MaxPayload())-300))
	subject := events.Subject("phuong", "a")
	ack, err := js.Publish(ctx, subject, huge)
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Put(ctx, streams.DeadLetter{Stage: "intake", Key: "phuong.a", Reason: "r", Subject: subject, Data: huge, Origin: ack.Sequence}); err != nil {
		t.Fatal(err)
	}
	l, err := dead.Get(ctx, 1)
	if err != nil || len(l.Data) != len(huge) {
		t.Errorf("got %d bytes, %v; want %d", len(l.Data), err, len(huge))
	}
}

func TestWarningsTakeNoRoomFromDeadLetters(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	ctx := t.Context()
	dead, err := streams.OpenDead(ctx, js)
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Put(ctx, streams.DeadLetter{Stage: "intake", Key: "phuong.a", Reason: "r", Subject: "x"}); err != nil {
		t.Fatal(err)
	}
	for i := range 10_050 {
		if _, err := js.PublishAsync("loa.dead.warning.phuong.a", nil); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 { // more may not be under way
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
	if err := dead.Warn(ctx, streams.DeadLetter{Key: "phuong.b", Reason: "no alternative text"}); err != nil {
		t.Fatal(err)
	}
	if n, err := dead.Count(ctx); n != 10_001 || err != nil {
		t.Errorf("%d dead letters, %v; want 10,000 warnings and another", n, err)
	}
	for l, err := range dead.List(ctx, streams.Warnings, "phuong.b") {
		if err != nil || !l.Warning || l.Stage != streams.Warnings {
			t.Fatalf("%+v, %v", l, err)
		}
		if err := dead.Retry(ctx, l.Seq); err != nil { // there is nothing to be done again
			t.Fatal(err)
		}
	}
	stream, err := js.Stream(ctx, streams.DeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	c := stream.CachedInfo().Config
	c.MaxBytes = 1
	if _, err := js.UpdateStream(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := dead.Warn(ctx, streams.DeadLetter{Key: "phuong.c", Reason: "no alternative text"}); !errors.Is(err, streams.ErrNoRoom) {
		t.Errorf("without room: %v", err)
	}
}

func TestTheInboxForgetsOnlyWhatWasTakenIn(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	ctx := t.Context()
	if err := streams.Setup(ctx, js, streams.Options{EventsBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	c, err := streams.IntakeConsumer(ctx, js)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(strings.Repeat("x", 10_000))
	publish := func(n int) (err error) {
		for i := range n {
			if _, e := js.Publish(ctx, events.Subject("phuong", fmt.Sprint(i)), body); e != nil {
				err = e
			}
		}
		return err
	}
	if err := publish(85); err != nil {
		t.Fatal(err)
	}
	if err := streams.TrimEvents(ctx, js); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(ctx, streams.Events)
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 85 {
		t.Errorf("%d events left, though none was taken in", n)
	}
	for range 40 {
		m, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.DoubleAck(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := streams.TrimEvents(ctx, js); err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(ctx)
	if err != nil || info.State.Msgs >= 85 || info.State.FirstSeq > 41 {
		t.Errorf("after the trim: %d events from %d on, %v", info.State.Msgs, info.State.FirstSeq, err)
	}
	// Full of what was not taken in, it says so.
	var api *jetstream.APIError
	if err := publish(200); !errors.As(err, &api) || api.Code != 503 {
		t.Errorf("publish into a full inbox: %v, want a 503", err)
	}
}

func TestStoredFlagIsWhereTheServerKeepsIt(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	stream, err := js.Stream(t.Context(), streams.Flags)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		target := fmt.Sprintf("cong-%d", i)
		if _, err := js.Publish(t.Context(), streams.FlagSubject(streams.Normal, "portal", target, "ward.tin"), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.GetLastMsgForSubject(t.Context(), streams.StoredFlag(streams.Normal, "portal", target, "ward.tin")); err != nil {
			t.Errorf("flag of %s: %v", target, err)
		}
	}
}

// A receipt says for as long as the article is there who has to learn of its withdrawal.
func TestReceiptsDoNotAge(t *testing.T) {
	t.Parallel()
	stream, err := loatest.NATS(t).Stream(t.Context(), streams.Receipts)
	if err != nil {
		t.Fatal(err)
	}
	if c := stream.CachedInfo().Config; c.MaxAge != 0 || c.MaxBytes > 0 || c.MaxMsgs > 0 {
		t.Errorf("receipts are dropped after %s, %d bytes, %d messages; expected no limit", c.MaxAge, c.MaxBytes, c.MaxMsgs)
	}
}

func TestConsumersOfAnEarlierVersionAreReplaced(t *testing.T) {
	t.Parallel()
	js := loatest.NATS(t)
	open := func() jetstream.ConsumerConfig {
		t.Helper()
		c, err := streams.FlagConsumer(t.Context(), js, "feed", streams.Normal, 0)
		if err != nil {
			t.Fatal(err)
		}
		return c.CachedInfo().Config
	}
	now := open()
	old := now
	old.MemoryStorage = !now.MemoryStorage
	if err := js.DeleteConsumer(t.Context(), streams.Flags, old.Durable); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(t.Context(), streams.Flags, old); err != nil {
		t.Fatal(err)
	}
	if got := open(); got.MemoryStorage != now.MemoryStorage {
		t.Errorf("memory storage %t", got.MemoryStorage)
	}
}
