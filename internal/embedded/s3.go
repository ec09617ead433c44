package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/s3api"
	"github.com/versity/versitygw/s3api/middlewares"
	"golang.org/x/sys/unix"
)

const (
	// Region is what the embedded S3 server calls itself.
	Region = "us-east-1"
	// defaultS3Listen is any free port of this machine alone.
	defaultS3Listen = "127.0.0.1:0"
	// s3MaxConns and s3MaxRequests are more than Loa and a few operators' tools open; beyond
	// s3MaxRequests the answer is 503 SlowDown.
	s3MaxConns    = 4096
	s3MaxRequests = 1024
	// s3MaxParts is the limit of S3 itself.
	s3MaxParts = 10000
	// s3BindAttempts bounds how often a free port is chosen again, because somebody took it
	// between our finding and our binding it.
	s3BindAttempts = 8
	// s3Ready bounds the wait for the first answer, which takes a millisecond or two.
	s3Ready = 10 * time.Second
)

// S3Options say how [StartS3] runs the server.
type S3Options struct {
	// Dir holds the buckets and the credentials. It is made if missing. Its file system must
	// have extended attributes, where the objects' metadata is kept.
	Dir string
	// Listen is a host:port; port 0 takes any free one. Empty: a free port on loopback.
	Listen string
	// Log receives what the server's backend could not do.
	Log zerolog.Logger
}

// S3 is a running server. It knows the part of S3 that an application uses: buckets, objects
// with conditions and ranges, multipart uploads, listings, bucket policies. The rest (copies,
// versions, tags, locks) is answered 501.
type S3 struct {
	server   *s3api.S3ApiServer
	backend  *disk
	endpoint string
	login    Login
	lock     *Lock
	done     chan error // receives the end of serving, once
	stop     sync.Once
}

// StartS3 returns when the server answers. The context bounds the start alone; [S3.Shutdown]
// ends the server. A directory or an address that is taken gives [ErrInUse].
func StartS3(ctx context.Context, o S3Options) (_ *S3, err error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start S3: %w", err)
	}
	lock, err := LockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("start S3: %w", err)
	}
	defer func() {
		if err != nil {
			lock.Unlock()
		}
	}()
	if err := checkXattrs(dir); err != nil {
		return nil, fmt.Errorf("start S3: %w", err)
	}
	secrets, err := keepSecrets(dir, UserLoa)
	if err != nil {
		return nil, fmt.Errorf("start S3: %w", err)
	}
	login := secrets.login(UserLoa)
	backend, err := openDisk(filepath.Join(dir, "buckets"), o.Log)
	if err != nil {
		return nil, fmt.Errorf("start S3: %w", err)
	}
	s := &S3{backend: backend, login: login, lock: lock}
	for attempt := 1; ; attempt++ {
		err := s.serve(ctx, o.Listen)
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, errBind) || attempt == s3BindAttempts {
			backend.Shutdown()
			return nil, fmt.Errorf("start S3: %w", err)
		}
	}
}

var errBind = errors.New("could not bind")

// serve starts to serve and returns when connections are accepted.
func (s *S3) serve(ctx context.Context, listen string) error {
	if listen == "" {
		listen = defaultS3Listen
	}
	addr, err := reserve("S3", listen)
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	root := auth.Account{Access: s.login.Name, Secret: s.login.Secret.Reveal(), Role: auth.RoleAdmin}
	s.server, err = s3api.New(s.backend,
		middlewares.RootUserConfig{Access: root.Access, Secret: root.Secret},
		Region, soleUser{auth.NewIAMServiceSingle(root)}, nil, nil, nil, nil,
		s3api.WithQuiet(),
		s3api.WithKeepAlive(),
		s3api.WithConcurrencyLimiter(s3MaxConns, s3MaxRequests),
		s3api.WithMpMaxParts(s3MaxParts),
		s3api.WithOnListen(func() { close(ready) }),
	)
	if err != nil {
		return fmt.Errorf("make S3 server: %w", err)
	}
	s.done = make(chan error, 1)
	server, done := s.server, s.done
	go func() { done <- server.ServeMultiPort([]string{addr}) }()
	select {
	case <-ready:
	case err := <-done:
		return fmt.Errorf("%w: serve S3 on %s: %w", errBind, addr, err)
	}
	// The socket listens, but a server that is shut down before it takes its first connection
	// goes on for ever: so it is not given away before it has answered.
	err = answers(addr)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		s.server.ShutDown()
		return err
	}
	s.endpoint = addr
	return nil
}

// answers waits for the server to answer anything at all.
func answers(addr string) error {
	client := http.Client{Timeout: s3Ready, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + addr + "/")
	if err != nil {
		return fmt.Errorf("ask the S3 server that was started: %w", err)
	}
	return resp.Body.Close()
}

// soleUser answers the question for another user as the server expects it. As it was, a wrong
// access key got 404, which a HEAD request takes for "no such object".
type soleUser struct{ auth.IAMService }

func (u soleUser) GetUserAccount(access string) (auth.Account, error) {
	account, err := u.IAMService.GetUserAccount(access)
	if err != nil {
		return account, auth.ErrNoSuchUser
	}
	return account, nil
}

// Endpoint is the server's host:port; it speaks plain HTTP.
func (s *S3) Endpoint() string { return s.endpoint }

// Credentials are the access key and the secret key.
func (s *S3) Credentials() Login { return s.login }

// Shutdown lets requests in flight finish, within the 10 s that the server allows them, frees
// the port and waits for everything to end. It may be called again.
func (s *S3) Shutdown() {
	s.stop.Do(func() {
		if err := s.server.ShutDown(); err != nil {
			s.backend.log.Warn().Err(err).Msg("s3 server cut requests off")
		}
		<-s.done
		s.backend.Shutdown()
		s.lock.Unlock()
	})
}

// checkXattrs makes sure that the file system of dir keeps extended attributes.
func checkXattrs(dir string) error {
	probe, err := os.CreateTemp(dir, ".xattr-*")
	if err != nil {
		return fmt.Errorf("try extended attributes: %w", err)
	}
	defer os.Remove(probe.Name())
	defer probe.Close()
	const name, value = "user.loa.probe", "kept"
	got := make([]byte, len(value))
	err = unix.Fsetxattr(int(probe.Fd()), name, []byte(value), 0)
	if err == nil {
		_, err = unix.Fgetxattr(int(probe.Fd()), name, got)
	}
	if err != nil || string(got) != value {
		return fmt.Errorf("the file system of %s keeps no extended attributes (%w): "+
			"use ext4, XFS, btrfs or tmpfs for the data directory, or an S3 server elsewhere (--s3)", dir, err)
	}
	return nil
}
