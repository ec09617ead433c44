package reach

// SetAtOnce sets how many articles are kept in mind at once.
func SetAtOnce(o *VerifyOptions, n int) { o.atOnce = n }
