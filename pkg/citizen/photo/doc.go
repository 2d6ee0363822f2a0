// Package photo turns what a citizen uploads into a photo that is safe to keep.
//
// A JPEG or PNG of bounded bytes and pixels is decoded, turned upright by its
// EXIF orientation, made to fit 1600 pixels, and encoded anew as JPEG. Nothing
// of the original file remains: no position, no camera, no preview, nothing
// hidden behind the end.
//
// It promises bounded memory whatever the input (dimensions are read before
// pixels, and a fixed number of photos is decoded at a time) and an error that
// says which rule was broken. It never keeps anything and knows no database.
package photo
