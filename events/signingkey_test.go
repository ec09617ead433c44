package events_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/loa-syndication/loa/events"
)

// signedWith is the header of a request that all of the secrets sign.
func signedWith(t *testing.T, id string, at time.Time, body []byte, secrets ...string) http.Header {
	t.Helper()
	var signatures []string
	for _, secret := range secrets {
		s, err := events.Sign(secret, id, at, body)
		if err != nil {
			t.Fatal(err)
		}
		signatures = append(signatures, s)
	}
	h := http.Header{}
	h.Set(events.HeaderID, id)
	h.Set(events.HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(events.HeaderSignature, strings.Join(signatures, " "))
	return h
}

func public(t *testing.T, key string) string {
	t.Helper()
	p, err := events.PublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAPublicKeyVerifiesWhatItsSigningKeySigned(t *testing.T) {
	body, now := []byte(`{"type":"loa.ping"}`), time.Now()
	key, other, shared := events.NewSigningKey(), events.NewSigningKey(), events.NewSecret()
	v, err := events.NewVerifier(public(t, key))
	if err != nil {
		t.Fatal(err)
	}
	header := signedWith(t, "msg_1", now, body, shared, other, key)
	if err := v.Verify(header, body); err != nil {
		t.Errorf("one of three signatures is right: %v", err)
	}
	for name, c := range map[string]struct {
		header http.Header
		body   []byte
	}{
		"another body":     {header, []byte(`{"type":"loa.pong"}`)},
		"another key":      {signedWith(t, "msg_1", now, body, other, shared), body},
		"too many":         {signedWith(t, "msg_1", now, body, append(strings.Split(strings.Repeat(other+" ", 16), " ")[:16], key)...), body},
		"the scheme of v1": {http.Header{"Webhook-Id": header["Webhook-Id"], "Webhook-Timestamp": header["Webhook-Timestamp"], "Webhook-Signature": {strings.ReplaceAll(header.Get(events.HeaderSignature), "v1a,", "v1,")}}, body},
	} {
		if err := v.Verify(c.header, c.body); !errors.Is(err, events.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// By the standard alone: the part behind the comma, over id, time and body.
	_, sum, _ := strings.Cut(strings.Fields(header.Get(events.HeaderSignature))[2], ",")
	raw, err := base64.StdEncoding.DecodeString(sum)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(public(t, key), "whpk_"))
	if err != nil || !ed25519.Verify(pub, fmt.Appendf(nil, "msg_1.%d.%s", now.Unix(), body), raw) {
		t.Errorf("not an ed25519 signature: %v", err)
	}
	// The public library passes over what it does not know.
	wh, err := standardwebhooks.NewWebhook(shared)
	if err != nil {
		t.Fatal(err)
	}
	if err := wh.Verify(body, header); err != nil {
		t.Errorf("the shared secret's signature, beside others: %v", err)
	}
}

func TestSigningKeysThatAreNoneAreRefusedAndNotTold(t *testing.T) {
	good := events.NewSigningKey()
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(good, "whsk_"))
	if err != nil {
		t.Fatal(err)
	}
	seed := "whsk_" + base64.StdEncoding.EncodeToString(raw[:32])
	if public(t, seed) != public(t, good) {
		t.Error("a seed is another key")
	}
	raw[63] ^= 1
	for _, bad := range []string{"whsk_", "whsk_" + strings.Repeat("A", 40), "whsk_****", "whsk_" + base64.StdEncoding.EncodeToString(raw)} {
		err := events.CheckSecret(bad)
		if err == nil || len(bad) > 8 && strings.Contains(err.Error(), bad[5:]) {
			t.Errorf("%q: %v", bad, err)
		}
		if _, err := events.Sign(bad, "msg_1", time.Now(), nil); err == nil {
			t.Errorf("%q signs", bad)
		}
	}
	for _, bad := range []string{"whpk_", "whpk_AAAA", good} {
		if _, err := events.NewVerifier(bad); err == nil {
			t.Errorf("%.8s… verifies", bad)
		}
	}
}

// nodeModule names the folder where the npm package "standardwebhooks" is installed.
const nodeModule = "LOA_TEST_STANDARDWEBHOOKS"

func TestTheNodeLibraryVerifiesBulletins(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no Node here")
	}
	dir := os.Getenv(nodeModule)
	if dir == "" {
		t.Skipf("%s does not say where the npm package standardwebhooks is", nodeModule)
	}
	body := []byte(`{"type":"loa.ping","data":{"title":"Ủy ban nhân dân quận"}}`)
	old, shared := events.NewSecret(), events.NewSecret()
	header := signedWith(t, "msg_1", time.Now(), body, events.NewSigningKey(), shared, old)
	script := `const {Webhook} = require("standardwebhooks");
const [secret, body, id, timestamp, signature] = process.argv.slice(1);
new Webhook(secret).verify(body, {"webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature});`
	verify := func(secret string, body []byte) error {
		cmd := exec.Command(node, "-e", script, secret, string(body), header.Get(events.HeaderID), header.Get(events.HeaderTimestamp), header.Get(events.HeaderSignature))
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	for _, secret := range []string{shared, old} {
		if err := verify(secret, body); err != nil {
			t.Error(err)
		}
	}
	if err := verify(events.NewSecret(), body); err == nil || !strings.Contains(err.Error(), "No matching signature") {
		t.Errorf("another secret: %v", err)
	}
	if err := verify(shared, append(body, ' ')); err == nil {
		t.Error("another body is taken")
	}
}
