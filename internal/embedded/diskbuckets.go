package embedded

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// The bucket operations of disk, and the questions that the server asks its backend about a
// bucket in the course of every request.

func (d *disk) CreateBucket(ctx context.Context, in *s3.CreateBucketInput, acl []byte) error {
	if in.Bucket == nil || !filepath.IsLocal(*in.Bucket) {
		return s3err.GetAPIError(s3err.ErrInvalidBucketName)
	}
	dir := filepath.Join(d.root, *in.Bucket)
	in.Bucket = &dir
	err := d.posix.CreateBucket(ctx, in, acl)
	if err == nil {
		err = syncPath(dir)
	}
	if err == nil {
		err = syncPath(d.root)
	}
	return d.fault(err)
}

func (d *disk) DeleteBucket(ctx context.Context, name string) error {
	dir, err := d.bucket(&name)
	if err != nil {
		return err
	}
	d.names.deleteBegins()
	defer d.names.deleteEnds()
	if err = d.posix.DeleteBucket(ctx, dir); err == nil {
		err = syncPath(d.root)
	}
	return d.fault(err)
}

func (d *disk) HeadBucket(ctx context.Context, in *s3.HeadBucketInput) (*s3.HeadBucketOutput, error) {
	dir, err := d.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	in.Bucket = &dir
	out, err := d.posix.HeadBucket(ctx, in)
	return out, d.fault(err)
}

// ListBuckets lists all: there is one account, which owns them.
func (d *disk) ListBuckets(_ context.Context, in s3response.ListBucketsInput) (s3response.ListAllMyBucketsResult, error) {
	res := s3response.ListAllMyBucketsResult{Owner: s3response.CanonicalUser{ID: in.Owner}, Prefix: in.Prefix}
	entries, err := os.ReadDir(d.root)
	if err != nil {
		return res, d.fault(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), in.Prefix) || e.Name() <= in.ContinuationToken {
			continue
		}
		if n := len(res.Buckets.Bucket); in.MaxBuckets > 0 && n == int(in.MaxBuckets) {
			res.ContinuationToken = res.Buckets.Bucket[n-1].Name
			break
		}
		info, err := e.Info()
		if err != nil {
			continue // deleted meanwhile
		}
		res.Buckets.Bucket = append(res.Buckets.Bucket, s3response.ListAllMyBucketsEntry{Name: e.Name(), CreationDate: info.ModTime()})
	}
	return res, nil
}

func (d *disk) GetBucketAcl(ctx context.Context, in *s3.GetBucketAclInput) ([]byte, error) {
	dir, err := d.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	in.Bucket = &dir
	acl, err := d.posix.GetBucketAcl(ctx, in)
	return acl, d.fault(err)
}

func (d *disk) GetBucketPolicy(ctx context.Context, name string) ([]byte, error) {
	dir, err := d.bucket(&name)
	if err != nil {
		return nil, err
	}
	policy, err := d.posix.GetBucketPolicy(ctx, dir)
	return policy, d.fault(err)
}

func (d *disk) PutBucketPolicy(ctx context.Context, name string, policy []byte) error {
	dir, err := d.bucket(&name)
	if err != nil {
		return err
	}
	if err = d.posix.PutBucketPolicy(ctx, dir, policy); err == nil {
		err = syncPath(dir)
	}
	return d.fault(err)
}

func (d *disk) DeleteBucketPolicy(ctx context.Context, name string) error {
	return d.PutBucketPolicy(ctx, name, nil)
}

func (d *disk) GetBucketOwnershipControls(ctx context.Context, name string) (types.ObjectOwnership, error) {
	dir, err := d.bucket(&name)
	if err != nil {
		return "", err
	}
	o, err := d.posix.GetBucketOwnershipControls(ctx, dir)
	return o, d.fault(err)
}

// GetBucketVersioning says that no bucket is versioned.
func (d *disk) GetBucketVersioning(_ context.Context, name string) (s3response.GetBucketVersioningOutput, error) {
	_, err := d.bucket(&name)
	return s3response.GetBucketVersioningOutput{}, err
}

// GetObjectLockConfiguration says that no bucket locks its objects.
func (d *disk) GetObjectLockConfiguration(_ context.Context, name string) ([]byte, error) {
	if _, err := d.bucket(&name); err != nil {
		return nil, err
	}
	return nil, s3err.GetAPIError(s3err.ErrObjectLockConfigurationNotFound)
}

// GetBucketCors says that no bucket has rules for other origins.
func (d *disk) GetBucketCors(_ context.Context, name string) ([]byte, error) {
	if _, err := d.bucket(&name); err != nil {
		return nil, err
	}
	return nil, s3err.GetBucketErr(s3err.ErrNoSuchCORSConfiguration, name)
}
