package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// soon bounds what a test waits for; it is spent only by a test that fails.
const soon = 10 * time.Second

func startNATS(t *testing.T, o NATSOptions) *NATS {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	n, err := StartNATS(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Shutdown)
	return n
}

func connect(t *testing.T, n *NATS) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := n.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func eventsStream(t *testing.T, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{eventSubjects}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNATSKeepsMessagesOverRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := startNATS(t, NATSOptions{Dir: dir})
	_, js := connect(t, n)
	eventsStream(t, js)
	if _, err := js.Publish(t.Context(), "loa.event.an-khanh.1", []byte("xin chào")); err != nil {
		t.Fatal(err)
	}
	creds := n.Credentials()
	n.Shutdown()

	n = startNATS(t, NATSOptions{Dir: dir})
	if n.Credentials() != creds {
		t.Error("credentials changed over a restart")
	}
	_, js = connect(t, n)
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := s.GetLastMsgForSubject(t.Context(), "loa.event.an-khanh.1")
	if err != nil {
		t.Fatal(err)
	}
	if string(msg.Data) != "xin chào" {
		t.Errorf("message is %q", msg.Data)
	}
}

func TestNATSWithoutAddressListensNowhere(t *testing.T) {
	t.Parallel()
	if url := startNATS(t, NATSOptions{}).ClientURL(); url != "" {
		t.Errorf("client URL is %q", url)
	}
}

func TestNATSTakesMessagesOfEightMebibytes(t *testing.T) {
	t.Parallel()
	nc, js := connect(t, startNATS(t, NATSOptions{}))
	eventsStream(t, js)
	if nc.MaxPayload() != MaxPayload {
		t.Errorf("max payload is %d", nc.MaxPayload())
	}
	if _, err := js.Publish(t.Context(), "loa.event.a.b", make([]byte, MaxPayload-1024)); err != nil {
		t.Error(err)
	}
}

func TestNATSStoreIsLimitedBelowTheDisk(t *testing.T) {
	t.Parallel()
	_, js := connect(t, startNATS(t, NATSOptions{MaxStore: 1 << 20}))
	eventsStream(t, js)
	var err error
	for range 20 {
		if _, err = js.Publish(t.Context(), "loa.event.a.b", make([]byte, 100<<10)); err != nil {
			break
		}
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.Code != 503 {
		t.Errorf("publishing 2 MB into 1 MiB: %v, want 503 of JetStream", err)
	}
	limit, err := maxStore(t.TempDir(), 1<<62)
	if err != nil || limit <= 0 || limit >= 1<<62 {
		t.Errorf("a limit beyond the disk became %d, %v", limit, err)
	}
}

func TestCMSMayOnlyPublishEvents(t *testing.T) {
	t.Parallel()
	n := startNATS(t, NATSOptions{Listen: "127.0.0.1:0"})
	loa, loaJS := connect(t, n)
	eventsStream(t, loaJS)

	faults := make(chan error, 16)
	cms, err := nats.Connect(n.ClientURL(), append(n.Credentials().CMS.Options(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { faults <- err }))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cms.Close()

	t.Run("it publishes and is told that the event is stored", func(t *testing.T) {
		js, err := jetstream.New(cms)
		if err != nil {
			t.Fatal(err)
		}
		ack, err := js.Publish(t.Context(), "loa.event.an-khanh.1", []byte("{}"), jetstream.WithMsgID("e1"))
		if err != nil || ack.Stream != "EVENTS" || ack.Sequence != 1 {
			t.Errorf("ack %+v, %v", ack, err)
		}
	})
	refused := func(t *testing.T, do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		if err := cms.Flush(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-faults:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("error is %v", err)
			}
		case <-time.After(soon):
			t.Error("it was allowed")
		}
	}
	for _, subject := range []string{"loa.article.a.b", "loa.flag.normal.portal.p.k", "$JS.API.STREAM.DELETE.EVENTS",
		"$JS.API.STREAM.MSG.GET.EVENTS", "$JS.API.DIRECT.GET.EVENTS", "$JS.API.CONSUMER.CREATE.EVENTS", "$SYS.REQ.SERVER.PING", privateInbox + ".x"} {
		t.Run("it cannot publish to "+subject, func(t *testing.T) {
			refused(t, func() error { return cms.Publish(subject, []byte("{}")) })
		})
	}
	for _, subject := range []string{">", eventSubjects, "loa.article.>", "$JS.>", "_INBOX_LOA.>", "*.>"} {
		t.Run("it cannot subscribe to "+subject, func(t *testing.T) {
			refused(t, func() error { _, err := cms.SubscribeSync(subject); return err })
		})
	}
	t.Run("it does not see what loa reads", func(t *testing.T) {
		sub, err := cms.SubscribeSync(nats.InboxPrefix + ">")
		if err != nil {
			t.Fatal(err)
		}
		if err := cms.Flush(); err != nil {
			t.Fatal(err)
		}
		s, err := loaJS.Stream(t.Context(), "EVENTS")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.GetMsg(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		// What loa publishes last arrives last.
		if err := loa.Publish(nats.InboxPrefix+"end", nil); err != nil {
			t.Fatal(err)
		}
		msg, err := sub.NextMsg(soon)
		if err != nil || msg.Subject != nats.InboxPrefix+"end" {
			t.Errorf("it received %+v, %v", msg, err)
		}
	})
}

func TestNATSRefusesStrangers(t *testing.T) {
	t.Parallel()
	n := startNATS(t, NATSOptions{Listen: "127.0.0.1:0"})
	for name, opts := range map[string][]nats.Option{
		"nobody":         nil,
		"wrong password": Login{UserLoa, "guess"}.Options(),
		"other's":        Login{UserLoa, n.Credentials().CMS.Secret}.Options(),
	} {
		if nc, err := nats.Connect(n.ClientURL(), opts...); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
			nc.Close()
		}
	}
}

func TestCredentialsFileIsPrivateAndReadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := ReadCredentials(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before the first start: %v", err)
	}
	n := startNATS(t, NATSOptions{Dir: dir})
	name := filepath.Join(dir, credentialsFile)
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v", info.Mode())
	}
	creds, err := ReadCredentials(dir)
	if err != nil || creds != n.Credentials() {
		t.Errorf("read %v, %v", creds, err)
	}
	if a, b := creds.Loa.Secret.Reveal(), creds.CMS.Secret.Reveal(); len(a) < 43 || a == b {
		t.Error("the secrets are short or alike") // 43 base64 digits hold 32 bytes
	}
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCredentials(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by the group: %v", err)
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	const password = "mật-khẩu"
	creds := Credentials{Login{"loa", password}, Login{"cms", password}}
	var shown bytes.Buffer
	log := zerolog.New(&shown)
	log.Info().Object("creds", creds).Interface("any", creds).Stringer("secret", creds.Loa.Secret).Msg("x")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&shown, verb+"\n", creds)
		fmt.Fprintf(&shown, verb+"\n", &creds.Loa.Secret)
		fmt.Fprintf(&shown, verb+"\n", creds.Loa.Secret)
	}
	if err := json.NewEncoder(&shown).Encode(creds); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{password, fmt.Sprintf("%x", password), fmt.Sprintf("%q", password)} {
		if strings.Contains(shown.String(), form) {
			t.Errorf("shown: %s", shown.String())
		}
	}
	if !strings.Contains(shown.String(), `"name":"cms"`) {
		t.Error("the names are not logged")
	}
}

func TestSecondServerOnADirectoryIsRefused(t *testing.T) {
	t.Parallel()
	natsDir, s3Dir := t.TempDir(), t.TempDir()
	n, s := startNATS(t, NATSOptions{Dir: natsDir}), startS3(t, S3Options{Dir: s3Dir})
	_, err := StartNATS(t.Context(), NATSOptions{Dir: natsDir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), natsDir) {
		t.Errorf("second NATS: %v", err)
	}
	_, err = StartS3(t.Context(), S3Options{Dir: s3Dir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), s3Dir) {
		t.Errorf("second S3: %v", err)
	}
	n.Shutdown()
	s.Shutdown()
	startNATS(t, NATSOptions{Dir: natsDir})
	startS3(t, S3Options{Dir: s3Dir})
}

func TestDirectoryOfAnotherProcessIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, kill := startChild(t, dir)
	_, err := StartS3(t.Context(), S3Options{Dir: dir})
	kill()
	if !errors.Is(err, ErrInUse) {
		t.Errorf("while it ran: %v", err)
	}
	startS3(t, S3Options{Dir: dir}) // a killed process leaves no lock
}

func TestTakenAddressIsNamed(t *testing.T) {
	t.Parallel()
	n := startNATS(t, NATSOptions{Listen: "127.0.0.1:0"})
	addr := strings.TrimPrefix(n.ClientURL(), "nats://")
	_, err := StartNATS(t.Context(), NATSOptions{Dir: t.TempDir(), Listen: addr})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), addr) {
		t.Errorf("NATS: %v", err)
	}
	_, err = StartS3(t.Context(), S3Options{Dir: t.TempDir(), Listen: addr})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), addr) {
		t.Errorf("S3: %v", err)
	}
}

func TestNATSStartsWithoutAWarning(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	startNATS(t, NATSOptions{Listen: "127.0.0.1:0", Log: zerolog.New(&log)}).Shutdown()
	if log.Len() > 0 {
		t.Error(log.String())
	}
}

func TestNATSStartObeysItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if _, err := StartNATS(ctx, NATSOptions{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("NATS: %v", err)
	}
	startNATS(t, NATSOptions{Dir: dir})
}
