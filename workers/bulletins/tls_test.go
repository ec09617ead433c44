package bulletins_test

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/receiver"
)

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{}
	a.certificate, a.key = loatest.Certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Cơ quan chứng thực"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	return a
}

// pair signs a certificate for a server on loopback, or for a client.
func (a authority) pair(t *testing.T, usage x509.ExtKeyUsage) (chain string, key portal.Secret, both tls.Certificate) {
	t.Helper()
	c, private := loatest.Certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "loa"}, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, a.certificate, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	chain = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	key = portal.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if both, err = tls.X509KeyPair([]byte(chain), []byte(key.Reveal())); err != nil {
		t.Fatal(err)
	}
	return chain, key, both
}

func (a authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

func TestAPortalThatAsksWhoCallsIsShownItsCertificate(t *testing.T) {
	t.Parallel()
	s := started(t)
	ours, others := newAuthority(t), newAuthority(t)
	_, _, server := ours.pair(t, x509.ExtKeyUsageServerAuth)
	r, err := receiver.New(receiver.Options{Name: "kin", Secrets: []string{secret.Reveal()}, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(r.Handler())
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.pool()}
	srv.StartTLS()
	t.Cleanup(srv.Close)

	chain, key, _ := ours.pair(t, x509.ExtKeyUsageClientAuth)
	strange, strangeKey, _ := others.pair(t, x509.ExtKeyUsageClientAuth)
	ps := map[string]portal.Portal{
		"kin":          {Certificate: &portal.Certificate{Chain: chain, Key: key}, CA: ours.pem()},
		"khong-co":     {CA: ours.pem()},
		"la":           {Certificate: &portal.Certificate{Chain: strange, Key: strangeKey}, CA: ours.pem()},
		"khong-tin":    {Certificate: &portal.Certificate{Chain: chain, Key: key}},
		"tin-nguoi-la": {Certificate: &portal.Certificate{Chain: chain, Key: key}, CA: others.pem()},
	}
	for name, p := range ps {
		p.Name, p.URL, p.Secrets = name, srv.URL+"/bulletins", []portal.Secret{secret}
		s.portal(t, p)
	}
	s.publish(t, text("bai", 1))
	for name := range ps {
		if name == "kin" {
			continue
		}
		if state := s.down(t, name); !strings.Contains(state.Reason, "TLS") && !strings.Contains(state.Reason, "certificate") {
			t.Errorf("%s: %s", name, state.Reason)
		}
		if strings.Contains(s.log.String(), key.Reveal()[30:60]) {
			t.Error("the key is in the log")
		}
	}
	if n := r.Counts().Kept; n != 1 {
		t.Errorf("%d bulletins came, want the one from who showed a certificate", n)
	}
	// Once it is put right, what waits goes out.
	s.change(t, "khong-co", func(p *portal.Portal) { p.Certificate = ps["kin"].Certificate })
	s.change(t, "tin-nguoi-la", func(p *portal.Portal) { p.CA = ours.pem() })
	s.change(t, "khong-tin", func(p *portal.Portal) { p.CA = ours.pem() })
	s.change(t, "la", func(p *portal.Portal) { p.Certificate = ps["kin"].Certificate })
	s.level(t)
}
