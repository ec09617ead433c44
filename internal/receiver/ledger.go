package receiver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	ledgerName = "bulletins.jsonl"
	// maxLine bounds one line of the ledger, in bytes: a bulletin of the greatest size, which
	// grows at most twofold when XML becomes JSON, and what is beside it.
	maxLine = 3 << 20
	// spareLines is how many lines beyond two for every article the ledger may have before it
	// is written anew.
	spareLines = 1000

	privateDir  fs.FileMode = 0o700
	privateFile fs.FileMode = 0o600
)

// ledger is a file of JSON lines, one for every bulletin that was kept, each on disk before
// Loa is answered. The last line of an article counts. A crash can leave no more than an
// unfinished last line, which is cut off when the ledger is opened.
type ledger struct {
	dir   string
	file  *os.File
	lines int
	size  int64 // of the whole lines, in bytes
}

// openLedger opens the directory's ledger, and puts what it holds into held.
func openLedger(dir string, held map[string]Held) (*ledger, error) {
	if err := os.MkdirAll(dir, privateDir); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, ledgerName), os.O_RDWR|os.O_CREATE|os.O_APPEND, privateFile)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &ledger{dir: dir, file: f}
	err = l.read(held)
	if err == nil {
		err = f.Truncate(l.size)
	}
	if err == nil {
		err = l.compact(held)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		l.file.Close()
		return nil, fmt.Errorf("read ledger %s: %w", f.Name(), err)
	}
	return l, nil
}

// read stops before an unfinished last line.
func (l *ledger) read(held map[string]Held) error {
	in := bufio.NewReaderSize(l.file, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", l.lines+1, err)
		}
		var h Held
		if err := json.Unmarshal(line, &h); err != nil {
			if _, end := in.Peek(1); errors.Is(end, io.EOF) {
				return nil
			}
			return fmt.Errorf("line %d: %w", l.lines+1, err)
		}
		held[h.Bulletin.Data.GUID] = h
		l.lines++
		l.size += int64(len(line))
	}
}

// append returns once h is on disk. held is what is held beside it.
func (l *ledger) append(h Held, held map[string]Held) error {
	if err := l.compact(held); err != nil {
		return fmt.Errorf("write ledger anew: %w", err)
	}
	line, err := lineOf(h)
	if err != nil {
		return fmt.Errorf("append to ledger: %w", err)
	}
	if _, err = l.file.Write(line); err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		// Half a line must not be what the next one is appended to.
		return fmt.Errorf("append to ledger: %w", errors.Join(err, l.file.Truncate(l.size)))
	}
	l.lines++
	l.size += int64(len(line))
	return nil
}

// lineOf does not escape the HTML of a body, which could make it six times as long.
func lineOf(h Held) ([]byte, error) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	err := enc.Encode(h)
	return line.Bytes(), err
}

// compact replaces a ledger that consists mostly of former versions.
func (l *ledger) compact(held map[string]Held) error {
	if l.lines <= 2*len(held)+spareLines {
		return nil
	}
	temporary := filepath.Join(l.dir, ledgerName+".new")
	f, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, privateFile)
	if err != nil {
		return err
	}
	var size int64
	out := bufio.NewWriter(f)
	for _, h := range held {
		line, err := lineOf(h)
		if err != nil {
			f.Close()
			return err
		}
		out.Write(line) // Flush tells of errors
		size += int64(len(line))
	}
	if err = out.Flush(); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(temporary, filepath.Join(l.dir, ledgerName))
	}
	if err == nil {
		err = syncDir(l.dir)
	}
	if err != nil {
		f.Close()
		return err
	}
	l.file.Close()
	l.file, l.lines, l.size = f, len(held), size
	return nil
}

func (l *ledger) close() error { return l.file.Close() }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
