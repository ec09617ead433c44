package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

const (
	// MaxPayload is the largest NATS message, in bytes: an article with inline pictures.
	MaxPayload = 8 << 20
	// natsMaxPending is how much, in bytes, may wait for a client that reads slowly before it
	// is disconnected: some large messages in a row.
	natsMaxPending = 64 << 20
	// natsMaxMemory bounds streams in memory, in bytes. We have none; atomic batches are
	// staged there.
	natsMaxMemory = 256 << 20
	// defaultMaxStore is how much JetStream may store, in bytes, where the disk has room for it.
	defaultMaxStore = 64 << 30
	// diskReserve is the part of the free disk that JetStream is never given: 1/diskReserve.
	// A full disk latches an error until the server is restarted, the limit below it does not.
	diskReserve = 10
	// natsMaxConns is more than a site's CMSes and workers ever open.
	natsMaxConns = 4096
	// natsReady bounds what is left of a start once the streams are restored.
	natsReady = 10 * time.Second
	// natsConnect bounds making an in-process connection, whose handshake is a matter of
	// microseconds on an idle machine.
	natsConnect = 10 * time.Second
)

// eventSubjects is all that a CMS may publish to.
const eventSubjects = "loa.event.>"

// NATSOptions say how [StartNATS] runs the server.
type NATSOptions struct {
	// Dir holds the streams and the credentials. It is made if missing.
	Dir string
	// Listen is a host:port for clients over TCP; port 0 takes any free one. Empty: none, the
	// server is reached by [NATS.Connect] alone.
	Listen string
	// MaxStore is what the streams may take on disk together, in bytes; 0 means 64 GiB. It is
	// lowered to nine tenths of what the disk has for them.
	MaxStore int64
	// Log receives the server's warnings and errors.
	Log zerolog.Logger
}

// NATS is a running server: JetStream on disk, every write synced.
type NATS struct {
	server *server.Server
	creds  Credentials
	lock   *Lock
	stop   sync.Once
}

// StartNATS returns when the server answers. The context bounds the start alone;
// [NATS.Shutdown] ends the server. A directory or an address that is taken gives [ErrInUse].
func StartNATS(ctx context.Context, o NATSOptions) (_ *NATS, err error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	lock, err := LockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	defer func() {
		if err != nil {
			lock.Unlock()
		}
	}()
	secrets, err := keepSecrets(dir, UserLoa, UserCMS)
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	creds := Credentials{secrets.login(UserLoa), secrets.login(UserCMS)}
	opts, err := serverOptions(dir, o, creds)
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	log := &natsLog{log: o.Log}
	srv.SetLoggerV2(log, false, false, false)
	n := &NATS{server: srv, creds: creds, lock: lock}

	srv.Start() // restores the streams before it returns
	switch {
	case log.failure() != nil:
		err = log.failure()
	case ctx.Err() != nil:
		err = ctx.Err()
	case !srv.ReadyForConnections(natsReady):
		err = fmt.Errorf("not ready within %s", natsReady)
	default:
		return n, nil
	}
	srv.Shutdown()
	srv.WaitForShutdown()
	return nil, fmt.Errorf("start NATS: %w", err)
}

func serverOptions(dir string, o NATSOptions, creds Credentials) (*server.Options, error) {
	store, err := maxStore(dir, o.MaxStore)
	if err != nil {
		return nil, err
	}
	opts := &server.Options{
		ServerName:             "loa",
		NoSigs:                 true,
		DisableJetStreamBanner: true,
		DontListen:             true,
		MaxPayload:             MaxPayload,
		MaxPending:             natsMaxPending,
		MaxConn:                natsMaxConns,
		JetStream:              true,
		StoreDir:               dir,
		SyncAlways:             true,
		JetStreamMaxStore:      store,
		JetStreamMaxMemory:     natsMaxMemory,
		Users: []*server.User{
			{Username: creds.Loa.Name, Password: creds.Loa.Secret.Reveal()},
			{Username: creds.CMS.Name, Password: creds.CMS.Secret.Reveal(), Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: []string{eventSubjects}},
				Subscribe: &server.SubjectPermission{Allow: []string{nats.InboxPrefix + ">"}},
			}},
		},
	}
	if o.Listen == "" {
		return opts, nil
	}
	addr, err := reserve("NATS", o.Listen)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("NATS address %s: %w", addr, err)
	}
	opts.DontListen, opts.Host = false, host
	if opts.Port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("NATS address %s: %w", addr, err)
	}
	return opts, nil
}

// maxStore lowers what was asked for to what the disk has: the free space and what the streams
// hold already.
func maxStore(dir string, asked int64) (int64, error) {
	if asked == 0 {
		asked = defaultMaxStore
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return 0, fmt.Errorf("measure free disk space of %s: %w", dir, err)
	}
	room := int64(disk.Bavail) * int64(disk.Bsize)
	err := filepath.WalkDir(filepath.Join(dir, server.JetStreamStoreDir), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return ignoreMissing(err)
		}
		info, err := d.Info()
		if err == nil {
			room += info.Size()
		}
		return ignoreMissing(err)
	})
	if err != nil {
		return 0, fmt.Errorf("measure what the streams take: %w", err)
	}
	return min(asked, room-room/diskReserve), nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Connect makes a connection inside this process as the user loa. The caller closes it.
func (n *NATS) Connect(opts ...nats.Option) (*nats.Conn, error) {
	own := append(n.creds.Loa.Options(), nats.Name("loa"), nats.Timeout(natsConnect), nats.InProcessServer(n.server))
	nc, err := nats.Connect("", append(own, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to embedded NATS: %w", err)
	}
	return nc, nil
}

// ClientURL is the address for clients over TCP, without credentials; empty if there is none.
func (n *NATS) ClientURL() string {
	if n.server.Addr() == nil {
		return ""
	}
	return n.server.ClientURL()
}

// Credentials are the users that may connect.
func (n *NATS) Credentials() Credentials { return n.creds }

// Shutdown stops the server and waits until its state is on disk. It may be called again.
func (n *NATS) Shutdown() {
	n.stop.Do(func() {
		n.server.Shutdown()
		n.server.WaitForShutdown()
		n.lock.Unlock()
	})
}

// natsLog passes on what an operator wants, and remembers the first fatal error: the server
// calls a logger's Fatalf, where its own would exit, and leaves its start unfinished.
type natsLog struct {
	log   zerolog.Logger
	mu    sync.Mutex
	fatal error
}

func (l *natsLog) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *natsLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == nil {
		l.fatal = fmt.Errorf(format, v...)
	}
}

func (l *natsLog) Errorf(format string, v ...any) {
	l.log.Error().Str("text", fmt.Sprintf(format, v...)).Msg("nats server error")
}

func (l *natsLog) Warnf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if strings.HasPrefix(text, "Plaintext passwords detected") {
		return // hashing slows the guessing of passwords; ours are random and cannot be guessed
	}
	l.log.Warn().Str("text", text).Msg("nats server warning")
}

func (l *natsLog) Noticef(string, ...any) {}
func (l *natsLog) Debugf(string, ...any)  {}
func (l *natsLog) Tracef(string, ...any)  {}
