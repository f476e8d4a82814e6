// The data of the events of redseat, as it is told.
// Made by `tidings types --profile redseat`. Do not edit it: change the schemas, and make it again.

/** What is backed up, and how. */
export interface Backup {
  id: string
  /** For the server's admins. */
  credentials?: unknown
  filter?: unknown
  last?: number | null
  library?: string | null
  name?: string | null
  /** For the server's admins. */
  password?: string | null
  path?: string | null
  plugin?: string | null
  schedule?: unknown
  size?: number | null
  source?: string | null
}

/** How far the backup of one file is. */
export interface BackupFileProgress {
  backup?: string | null
  error?: string | null
  estimatedRemainingSeconds?: number | null
  file?: string
  id?: string | null
  library?: string | null
  name?: string | null
  progress?: number
  size?: number | null
  /** `inProgress`, `done`, `error`, `idle` */
  status?: string | null
}

/** A backup changed, or its state. */
export interface BackupMessage {
  backup: BackupWithStatus | Backup | BackupStatus
  action?: ElementAction
}

export interface BackupStatus {
  backup?: string | null
  current?: number | null
  currentSize?: number | null
  estimatedRemainingSeconds?: number | null
  library?: string | null
  /** `inProgress`, `done`, `error`, `idle` */
  status?: string | null
  time?: number | null
  total?: number | null
  totalSize?: number | null
}

export interface BackupWithStatus {
  backup: Backup
  status?: BackupStatus | null
}

export interface Book {
  id: string
  name?: string | null
}

export interface BookWithAction {
  action?: ElementAction
  book?: Book
}

/** Books were added, changed or deleted. */
export interface BooksMessage {
  /** The library's id. */
  library: string
  books: BookWithAction[]
}

/** How far a conversion is: as the document has it, or as the app's code. */
export type ConvertMessage =
  | {
    /** The library's id. */
    library: string
    mediaId: string
    progress: number
    status: string
  }
  | {
    /** The library's id. */
    library: string
    progress?: ConvertProgressState
  }

export interface ConvertProgressState {
  id: string
  convertedId?: string | null
  done?: boolean | null
  estimatedRemainingSeconds?: number | null
  filename?: string | null
  /** 0 to 1. */
  percent?: number | null
  remainingSecondes?: number | null
  request?: unknown
  /** `pending`, `downloading`, `queued`, `processing`, `completed`, `failed`, `canceled` */
  status?: string | null
}

/** What happened to it. The wire has one spelling of each. */
export type ElementAction = 'Added' | 'Updated' | 'Deleted'

export interface Episode {
  added?: number | null
  imdbRating?: number | null
  imdbVotes?: number | null
  modified?: number | null
  name?: string | null
  number?: number | null
  otherids?: unknown
  overview?: string | null
  season?: number | null
  /** The id of its series. */
  serie?: string | null
  slug?: string | null
  tmdb?: number | null
  trakt?: number | null
  traktRating?: number | null
  traktVotes?: number | null
  tvdb?: number | null
}

export interface EpisodeWithAction {
  action?: ElementAction
  episode?: Episode
}

/** Episodes were added, changed or deleted. */
export interface EpisodesMessage {
  /** The library's id. */
  library: string
  episodes: EpisodeWithAction[]
}

/** A library was added, changed or deleted. */
export interface LibraryMessage {
  library: ServerLibrary
  action?: ElementAction
}

/** What is done to a library. */
export interface LibraryStatusMessage {
  /** `delete-media-progress:3/10` */
  message: string
  /** The library's id. */
  library: string
  /** In percent. */
  progress?: number | null
}

/** A file of a library. Of a deleted one only the id may be told. */
export interface Media {
  id: string
  added?: number | null
  created?: number | null
  duration?: number | null
  height?: number | null
  mimetype?: string | null
  modified?: number | null
  name?: string | null
  people?: {
    id: string
  }[] | null
  size?: number | null
  tags?: {
    id: string
  }[] | null
  /** `directory`, `photo`, `video`, `archive`, `album`, `other` */
  type?: string | null
  width?: number | null
}

export interface MediaProgressState {
  userRef: string
  mediaRef?: string
  modified?: number
  /** In ms. */
  progress?: number
}

export interface MediaRatingState {
  userRef: string
  mediaRef?: string
  modified?: number
  /** `null`: none any more. */
  rating?: number | null
}

export interface MediaWithAction {
  action?: ElementAction
  media?: Media
}

/** Files of a library were added, changed or deleted. */
export interface MediasMessage {
  /** The library's id. */
  library: string
  medias: MediaWithAction[]
}

/** How far somebody has watched something. To them alone. */
export interface MediasProgressMessage {
  /** The library's id. */
  library: string
  progress: MediaProgressState
}

/** What somebody thinks of something. To them alone. */
export interface MediasRatingMessage {
  /** The library's id. */
  library: string
  rating: MediaRatingState
}

export interface Movie {
  id: string
  added?: number | null
  airdate?: number | null
  backgroundv?: number | null
  cardv?: number | null
  country?: string | null
  digitalairdate?: number | null
  duration?: number | null
  imdb?: string | null
  imdbRating?: number | null
  imdbVotes?: number | null
  lang?: string | null
  modified?: number | null
  name?: string | null
  original?: string | null
  otherids?: unknown
  overview?: string | null
  posterv?: number | null
  slug?: string | null
  status?: string | null
  tmdb?: number | null
  trailer?: string | null
  trakt?: number | null
  traktRating?: number | null
  traktVotes?: number | null
  type?: string | null
  year?: number | null
}

export interface MovieWithAction {
  action?: ElementAction
  movie?: Movie
}

/** Movies were added, changed or deleted. */
export interface MoviesMessage {
  /** The library's id. */
  library: string
  movies: MovieWithAction[]
}

/** People were added, changed or deleted. */
export interface PeopleMessage {
  /** The library's id. */
  library: string
  people: PersonWithAction[]
}

export interface Person {
  id: string
  added?: number | null
  bio?: string | null
  country?: string | null
  death?: number | null
  gender?: unknown
  generated?: boolean | null
  imdb?: string | null
  modified?: number | null
  name?: string | null
  posterv?: number | null
  slug?: string | null
  socials?: unknown
  tmdb?: number | null
  trakt?: number | null
}

export interface PersonWithAction {
  action?: ElementAction
  person?: Person
}

export interface Serie {
  id: string
  added?: number | null
  backgroundv?: number | null
  cardv?: number | null
  imdbRating?: number | null
  imdbVotes?: number | null
  maxCreated?: number | null
  modified?: number | null
  name?: string | null
  otherids?: unknown
  params?: unknown
  posterv?: number | null
  slug?: string | null
  tmdb?: number | null
  trailer?: string | null
  trakt?: number | null
  traktRating?: number | null
  traktVotes?: number | null
  tvdb?: number | null
  year?: number | null
}

export interface SerieWithAction {
  action?: ElementAction
  serie?: Serie
}

/** Series were added, changed or deleted. */
export interface SeriesMessage {
  /** The library's id. */
  library: string
  series: SerieWithAction[]
}

/** A library. What is not told did not change. */
export interface ServerLibrary {
  id: string
  /** For the library's admins. */
  credentials?: unknown
  crypt?: boolean | null
  hidden?: boolean | null
  name?: string | null
  /** For the library's admins. */
  password?: string | null
  plugin?: string | null
  root?: string | null
  settings?: { [member: string]: unknown } | null
  source?: string | null
  /** `photos`, `shows`, `movies`, `iptv`, `books`, `other` */
  type?: string | null
}

export interface Tag {
  id: string
  added?: number | null
  alt?: unknown
  generated?: boolean | null
  modified?: number | null
  name?: string | null
  parent?: string | null
  path?: string | null
}

/** Tags were added, changed or deleted. */
export interface TagMessage {
  /** The library's id. */
  library: string
  tags: TagWithAction[]
}

export interface TagWithAction {
  action?: ElementAction
  tag?: Tag
}

/** Something counts as not watched again. To whose it is alone. */
export interface UnwatchedMessage {
  userRef: string
  ids?: string[]
  modified?: number
  /** `movie` */
  type?: string
}

/** How far an upload is: as the document has it, or as the app's code. */
export type UploadProgressMessage =
  | {
    /** The library's id. */
    library: string
    mediaId: string
    progress: number
  }
  | {
    /** The library's id. */
    library: string
    progress?: UploadProgressState
    remainingSecondes?: number | null
  }

export interface UploadProgressState {
  id: string
  current?: number | null
  filename?: string | null
  total?: number | null
  type?: UploadState | {
    /** The media that was there already. */
    duplicate: string
  }
}

/** `download`, `transfert`, `analysing`, `finished` */
export type UploadState = string | null

/** Somebody has watched something. To them alone. */
export interface WatchedMessage {
  userRef: string
  date?: number
  /** `imdb:tt1` */
  id?: string
  modified?: number
  /** `movie` */
  type?: string
}

/** A backup changed, or its state. */
export interface Backups {
  Backups: BackupMessage
}

/** How far the backup of one file is. */
export interface BackupsFiles {
  BackupsFiles: BackupFileProgress
}

/** Books were added, changed or deleted. */
export interface Books {
  Books: BooksMessage
}

/** How far a conversion is: as the document has it, or as the app's code. */
export interface ConvertProgress {
  ConvertProgress: ConvertMessage
}

/** Episodes were added, changed or deleted. */
export interface Episodes {
  Episodes: EpisodesMessage
}

/** A library was added, changed or deleted. */
export interface Library {
  Library: LibraryMessage
}

/** What is done to a library. */
export interface LibraryStatus {
  LibraryStatus: LibraryStatusMessage
}

/** How far somebody has watched something. To them alone. */
export interface MediaProgress {
  MediaProgress: MediasProgressMessage
}

/** What somebody thinks of something. To them alone. */
export interface MediaRating {
  MediaRating: MediasRatingMessage
}

/** Files of a library were added, changed or deleted. */
export interface Medias {
  Medias: MediasMessage
}

/** Movies were added, changed or deleted. */
export interface Movies {
  Movies: MoviesMessage
}

/** People were added, changed or deleted. */
export interface People {
  People: PeopleMessage
}

/** Series were added, changed or deleted. */
export interface Series {
  Series: SeriesMessage
}

/** Tags were added, changed or deleted. */
export interface Tags {
  Tags: TagMessage
}

/** Something counts as not watched again. To whose it is alone. */
export interface Unwatched {
  Unwatched: UnwatchedMessage
}

/** How far an upload is: as the document has it, or as the app's code. */
export interface UploadProgress {
  UploadProgress: UploadProgressMessage
}

/** Somebody has watched something. To them alone. */
export interface Watched {
  Watched: WatchedMessage
}

/** The data of each event, by its name. */
export interface Events {
  backups: Backups
  'backups-files': BackupsFiles
  books: Books
  convert_progress: ConvertProgress
  episodes: Episodes
  library: Library
  'library-status': LibraryStatus
  media_progress: MediaProgress
  media_rating: MediaRating
  medias: Medias
  movies: Movies
  people: People
  series: Series
  tags: Tags
  unwatched: Unwatched
  upload_progress: UploadProgress
  watched: Watched
}

/** Any of the events, told apart by `name`. */
export type LiveEvent = {
  [Name in keyof Events]: { readonly name: Name; readonly data: Events[Name] }
}[keyof Events]
