package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/rs/zerolog"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
	"golang.org/x/sys/unix"
)

const (
	// ioBuffer is the size in bytes of the buffer that each put in flight copies through;
	// posix's own megabyte is most of an idle server's memory.
	ioBuffer = 128 << 10
	// copyThreshold is S3's limit for the source of a copy, in bytes; posix takes 0 for "none".
	copyThreshold = 5 << 30
	// maxSegment is the longest file name in bytes, and so the longest part of a key.
	maxSegment = 255
)

// disk is versitygw's posix backend, in which an object is a file and its metadata the file's
// extended attributes, with these faults of it mended:
//
//   - It syncs nothing. Here a write is answered when the file (contents, then attributes) and
//     every directory above it, up to the bucket, are on stable storage. Contents are synced
//     before the file gets its name, so that no crash shows a torn object.
//   - It uses relative paths, for which it changes the working directory of the whole process.
//     Here every bucket is handed to it as an absolute path, and it is made to stay where it is.
//   - A kill during an overwrite leaves a visible object ".name.sgwtmp.N" behind, when it
//     writes to unnamed files. Here it writes to files in the bucket's temporary directory,
//     renames them, and the temporary directories are emptied at the start.
//   - It stores the transfer coding "aws-chunked" as a content encoding, and serves it.
//   - It takes the key "a//b" for "a/b". Here such a key is refused. That "a/b" and "a/b/c"
//     cannot both be keys remains.
//   - Completing a multipart upload that a crash interrupted succeeds without an object.
//
// A method that is not overridden here answers 501: posix itself would look for the bucket
// in the working directory.
type disk struct {
	backend.BackendUnsupported
	posix *posix.Posix
	root  string // absolute; holds one directory for each bucket
	names durable
	log   zerolog.Logger
}

func openDisk(root string, log zerolog.Logger) (*disk, error) {
	if err := makeDir(root); err != nil {
		return nil, err
	}
	if err := sweep(root); err != nil {
		return nil, fmt.Errorf("remove what a crash left behind: %w", err)
	}
	// "." is what makes it stay where it is; it makes no other use of its root, as it is
	// given absolute paths and no lock files.
	p, err := posix.New(".", meta.XattrMeta{}, posix.PosixOpts{
		ForceNoTmpFile:      true,
		ForceNoObjLockFile:  true, // LockDir has made sure that no other process writes here
		CopyObjectThreshold: copyThreshold,
		IOBufferSize:        ioBuffer,
	})
	if err != nil {
		return nil, fmt.Errorf("open S3 backend: %w", err)
	}
	return &disk{posix: p, root: root, log: log}, nil
}

// sweep removes the temporary files and unfinished multipart uploads of every bucket, whose
// writers ended with the former server, and makes the buckets themselves durable.
func sweep(root string) error {
	buckets, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, b := range buckets {
		if err := os.RemoveAll(filepath.Join(root, b.Name(), posix.MetaTmpDir)); err != nil {
			return err
		}
	}
	return syncPath(root)
}

func (d *disk) String() string { return "Loa" }

func (d *disk) Shutdown() { d.posix.Shutdown() }

// bucket is the directory of the bucket of that name.
func (d *disk) bucket(name *string) (string, error) {
	if name == nil || !filepath.IsLocal(*name) || strings.ContainsRune(*name, filepath.Separator) {
		return "", s3err.GetAPIError(s3err.ErrInvalidBucketName)
	}
	dir := filepath.Join(d.root, *name)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return "", s3err.GetBucketErr(s3err.ErrNoSuchBucket, *name)
	} else if err != nil {
		return "", d.fault(err)
	}
	return dir, nil
}

// checkKey refuses a new key that posix would store under another name, or not at all.
func checkKey(key *string) error {
	if key == nil {
		return s3err.GetAPIError(s3err.ErrNoSuchKey)
	}
	for i, segment := range strings.Split(strings.TrimSuffix(*key, "/"), "/") {
		switch {
		case segment == "", segment == ".", segment == "..", i == 0 && segment == posix.MetaTmpDir:
			return s3err.GetAPIError(s3err.ErrInvalidURI)
		case len(segment) > maxSegment:
			return s3err.GetKeyTooLongErr(int64(len(segment)), maxSegment)
		}
	}
	return nil
}

// fault makes of err what a client may see: S3's own errors as they are, but with the name of
// the bucket and not its path, and of others, which it logs, the fact alone.
func (d *disk) fault(err error) error {
	if err == nil {
		return nil
	}
	var named s3err.BucketError
	if errors.As(err, &named) {
		named.BucketName = filepath.Base(named.BucketName)
		return named
	}
	var known s3err.S3Error
	if errors.As(err, &known) {
		return known
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return s3err.GetAPIError(s3err.ErrNoSpaceLeftOnDevice)
	}
	if errors.Is(err, context.Canceled) {
		return s3err.GetAPIError(s3err.ErrSlowDown)
	}
	d.log.Error().Err(err).Msg("s3 backend error")
	return s3err.GetAPIError(s3err.ErrInternalError)
}

// withoutChunking strips the transfer coding that a client's signer adds to Content-Encoding
// (Signature Version 4, "chunked upload"): S3 does not store it.
func withoutChunking(encoding *string) *string {
	if encoding == nil {
		return nil
	}
	codings := slices.DeleteFunc(strings.Split(*encoding, ","), func(c string) bool {
		c = strings.TrimSpace(c)
		return c == "" || strings.EqualFold(c, "aws-chunked")
	})
	rest := strings.TrimSpace(strings.Join(codings, ","))
	return &rest
}

// Objects.

func (d *disk) PutObject(ctx context.Context, in s3response.PutObjectInput) (s3response.PutObjectOutput, error) {
	bucket, err := d.bucket(in.Bucket)
	if err == nil {
		err = checkKey(in.Key)
	}
	if err != nil {
		return s3response.PutObjectOutput{}, err
	}
	in.Bucket, in.ContentEncoding = &bucket, withoutChunking(in.ContentEncoding)
	deletes := d.names.writing()
	out, err := d.posix.PutObjectWithPostFunc(ctx, in, (*os.File).Sync)
	if err == nil {
		err = d.names.wrote(bucket, filepath.Join(bucket, *in.Key), deletes)
	}
	return out, d.fault(err)
}

func (d *disk) GetObject(ctx context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
	bucket, err := d.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	in.Bucket = &bucket
	out, err := d.posix.GetObject(ctx, in)
	return out, d.fault(err)
}

func (d *disk) HeadObject(ctx context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
	bucket, err := d.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	in.Bucket = &bucket
	out, err := d.posix.HeadObject(ctx, in)
	return out, d.fault(err)
}

func (d *disk) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
	bucket, err := d.bucket(in.Bucket)
	if err == nil {
		err = checkKey(in.Key)
	}
	if err != nil {
		return nil, err
	}
	in.Bucket = &bucket
	d.names.deleteBegins()
	defer d.names.deleteEnds()
	out, err := d.posix.DeleteObject(ctx, in)
	if err == nil {
		err = d.names.deleted(bucket, filepath.Join(bucket, *in.Key))
	}
	return out, d.fault(err)
}

func (d *disk) DeleteObjects(ctx context.Context, in *s3.DeleteObjectsInput) (s3response.DeleteResult, error) {
	var res s3response.DeleteResult
	for _, o := range in.Delete.Objects {
		_, err := d.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: in.Bucket, Key: o.Key, VersionId: o.VersionId})
		if err != nil {
			res.Error = append(res.Error, s3err.ObjectDeleteError(o.Key, o.VersionId, err))
			continue
		}
		res.Deleted = append(res.Deleted, types.DeletedObject{Key: o.Key, VersionId: o.VersionId})
	}
	return res, nil
}

func (d *disk) ListObjects(ctx context.Context, in *s3.ListObjectsInput) (s3response.ListObjectsResult, error) {
	bucket, err := d.bucket(in.Bucket)
	if err != nil {
		return s3response.ListObjectsResult{}, err
	}
	name := in.Bucket
	in.Bucket = &bucket
	res, err := d.posix.ListObjects(ctx, in)
	res.Name = name
	return res, d.fault(err)
}

func (d *disk) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input) (s3response.ListObjectsV2Result, error) {
	bucket, err := d.bucket(in.Bucket)
	if err != nil {
		return s3response.ListObjectsV2Result{}, err
	}
	name := in.Bucket
	in.Bucket = &bucket
	res, err := d.posix.ListObjectsV2(ctx, in)
	res.Name = name
	return res, d.fault(err)
}

// NormalizeObjectKey is what access is decided by.
func (d *disk) NormalizeObjectKey(bucket, key string) string {
	return d.posix.NormalizeObjectKey(bucket, key)
}

// Multipart uploads.

func (d *disk) CreateMultipartUpload(ctx context.Context, in s3response.CreateMultipartUploadInput) (s3response.InitiateMultipartUploadResult, error) {
	bucket, err := d.bucket(in.Bucket)
	if err == nil {
		err = checkKey(in.Key)
	}
	if err != nil {
		return s3response.InitiateMultipartUploadResult{}, err
	}
	name := *in.Bucket
	in.Bucket, in.ContentEncoding = &bucket, withoutChunking(in.ContentEncoding)
	res, err := d.posix.CreateMultipartUpload(ctx, in)
	res.Bucket = name
	return res, d.fault(err)
}

func (d *disk) UploadPart(ctx context.Context, in *s3.UploadPartInput) (*s3.UploadPartOutput, error) {
	bucket, err := d.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	in.Bucket = &bucket
	out, err := d.posix.UploadPart(ctx, in) // not synced: an upload does not outlive the server
	return out, d.fault(err)
}

// CompleteMultipartUpload answers when the object is there. Posix takes an upload that it does
// not find, or finds half completed, for one that somebody else has completed or is about to.
func (d *disk) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (s3response.CompleteMultipartUploadResult, string, error) {
	bucket, err := d.bucket(in.Bucket)
	if err != nil {
		return s3response.CompleteMultipartUploadResult{}, "", err
	}
	name := in.Bucket
	in.Bucket = &bucket
	deletes := d.names.writing()
	res, version, err := d.posix.CompleteMultipartUploadWithCopy(ctx, in, copySynced)
	if err == nil {
		err = d.names.wrote(bucket, filepath.Join(bucket, *in.Key), deletes)
	}
	if err == nil {
		var head *s3.HeadObjectOutput
		head, err = d.posix.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: in.Key})
		if err == nil && !backend.AreEtagsSame(*head.ETag, *res.ETag) {
			err = s3err.GetNoSuchUploadErr(*in.UploadId)
		}
	}
	res.Bucket = name
	return res, version, d.fault(err)
}

// copySynced appends a part to the object in the making. It reports that the part is still
// there, so that the client may try again.
func copySynced(part, object *os.File) (bool, error) {
	if _, err := io.Copy(object, part); err != nil {
		return true, err
	}
	return true, object.Sync()
}

func (d *disk) AbortMultipartUpload(ctx context.Context, in *s3.AbortMultipartUploadInput) error {
	bucket, err := d.bucket(in.Bucket)
	if err != nil {
		return err
	}
	in.Bucket = &bucket
	return d.fault(d.posix.AbortMultipartUpload(ctx, in))
}

func (d *disk) ListParts(ctx context.Context, in *s3.ListPartsInput) (s3response.ListPartsResult, error) {
	bucket, err := d.bucket(in.Bucket)
	if err != nil {
		return s3response.ListPartsResult{}, err
	}
	name := *in.Bucket
	in.Bucket = &bucket
	res, err := d.posix.ListParts(ctx, in)
	res.Bucket = name
	return res, d.fault(err)
}

func (d *disk) ListMultipartUploads(ctx context.Context, in *s3.ListMultipartUploadsInput) (s3response.ListMultipartUploadsResult, error) {
	bucket, err := d.bucket(in.Bucket)
	if err != nil {
		return s3response.ListMultipartUploadsResult{}, err
	}
	name := *in.Bucket
	in.Bucket = &bucket
	res, err := d.posix.ListMultipartUploads(ctx, in)
	res.Bucket = name
	return res, d.fault(err)
}
