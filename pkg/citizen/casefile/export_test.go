package casefile

// PageQuery is what a page of the list asks the store.
func PageQuery(f Filter) (query string, args []any) {
	where, args := f.where()
	return pageQuery(where), append(args, PageSize, 0)
}
