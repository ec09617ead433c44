package loatest

import (
	"testing"

	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/loatest/faultproxy"
	"github.com/loa-syndication/loa/internal/objects"
)

// Objects starts an embedded S3 server in a directory of the test's own, and opens a bucket.
func Objects(t testing.TB) *objects.Store {
	t.Helper()
	s3 := startS3(t)
	return openBucket(t, s3, s3.Endpoint())
}

// ProxiedObjects is [Objects] behind a proxy that can fail.
func ProxiedObjects(t testing.TB) (*objects.Store, *faultproxy.Proxy) {
	t.Helper()
	s3 := startS3(t)
	p := faultproxy.Start(t, s3.Endpoint())
	return openBucket(t, s3, p.Addr), p
}

func startS3(t testing.TB) *embedded.S3 {
	t.Helper()
	s3, err := embedded.StartS3(t.Context(), embedded.S3Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s3.Shutdown)
	return s3
}

func openBucket(t testing.TB, s3 *embedded.S3, endpoint string) *objects.Store {
	t.Helper()
	login := s3.Credentials()
	store, err := objects.Open(t.Context(), objects.Options{
		Endpoint: endpoint, AccessKey: login.Name, SecretKey: login.Secret.Reveal(), Bucket: "loa",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}
