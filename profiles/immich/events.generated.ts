// The data of the events of immich, as it is told.
// Made by `tidings types --profile immich`. Do not edit it: change the schemas, and make it again.

/** An asset, as the app's API has it. */
export interface Asset {
  id: AssetId
  checksum?: string
  deviceAssetId?: string
  deviceId?: string
  duration?: string | null
  exifInfo?: { [member: string]: unknown } | null
  /** Format: date-time. */
  fileCreatedAt?: string
  /** Format: date-time. */
  fileModifiedAt?: string
  hasMetadata?: boolean
  isArchived?: boolean
  isFavorite?: boolean
  isOffline?: boolean
  isTrashed?: boolean
  libraryId?: string | null
  /** Format: date-time. */
  localDateTime?: string
  originalFileName?: string
  originalPath?: string
  ownerId?: string
  people?: unknown[] | null
  resized?: boolean | null
  thumbhash?: string | null
  type?: 'IMAGE' | 'VIDEO' | 'AUDIO' | 'OTHER'
  /** Format: date-time. */
  updatedAt?: string
  visibility?: 'archive' | 'timeline' | 'hidden' | 'locked'
}

/** The id of an asset. */
export type AssetId = string

/** The ids of assets. */
export type AssetIds = AssetId[]

export type EditReady = {
  asset: SyncAsset
  edit: { [member: string]: unknown }[]
} | {
  assetId: AssetId
}

/** An asset, as phones keep it. */
export interface SyncAsset {
  id: AssetId
  checksum?: string
  /** Format: date-time. */
  deletedAt?: string | null
  duration?: string | number | null
  /** Format: date-time. */
  fileCreatedAt?: string | null
  /** Format: date-time. */
  fileModifiedAt?: string | null
  isFavorite?: boolean
  libraryId?: string | null
  livePhotoVideoId?: string | null
  /** Format: date-time. */
  localDateTime?: string | null
  originalFileName?: string
  ownerId?: string
  stackId?: string | null
  thumbhash?: string | null
  type?: 'IMAGE' | 'VIDEO' | 'AUDIO' | 'OTHER'
  visibility?: 'archive' | 'timeline' | 'hidden' | 'locked'
}

/** What a camera wrote into a file. */
export interface SyncExif {
  assetId: AssetId
  city?: string | null
  country?: string | null
  /** Format: date-time. */
  dateTimeOriginal?: string | null
  description?: string | null
  exifImageHeight?: number | null
  exifImageWidth?: number | null
  exposureTime?: string | null
  fNumber?: number | null
  fileSizeInByte?: number | null
  focalLength?: number | null
  fps?: number | null
  iso?: number | null
  latitude?: number | null
  lensModel?: string | null
  longitude?: number | null
  make?: string | null
  model?: string | null
  /** Format: date-time. */
  modifyDate?: string | null
  orientation?: string | null
  profileDescription?: string | null
  projectionType?: string | null
  rating?: number | null
  state?: string | null
  timeZone?: string | null
}

export interface UploadReady {
  asset: SyncAsset
  exif?: SyncExif | null
}

/** A version of the server. */
export interface Version {
  major: number
  minor: number
  patch: number
  /** `null` for a release, where it is told. */
  prerelease?: unknown
}

/** The server is about to restart. */
export interface AppRestartV1 {
  isMaintenanceMode: boolean
}

/** An asset was edited; the app's first version tells only which. */
export type AssetEditReadyV1 = EditReady

/** An asset was edited; the app's first version tells only which. */
export type AssetEditReadyV2 = EditReady

/** An asset was uploaded, as phones keep it. */
export type AssetUploadReadyV1 = UploadReady

/** An asset was uploaded, as phones keep it. */
export type AssetUploadReadyV2 = UploadReady

/** The id of an album that changed. */
export type OnAlbumUpdate = string

/** An asset is gone for good. One event for each. */
export type OnAssetDelete = AssetId

/** An asset was moved into the locked folder. */
export type OnAssetHidden = AssetId

/** Assets are back from the trash. Which, need not be told. */
export type OnAssetRestore = AssetIds | null

/** Stacks changed. The name says it all. */
export type OnAssetStackUpdate = undefined

/** Assets are in the trash. */
export type OnAssetTrash = AssetIds

/** What is known of an asset changed. Of which, need not be told. */
export type OnAssetUpdate = Asset | null

/** The server's configuration changed. The name says it all. */
export type OnConfigUpdate = undefined

/** There is a newer version. */
export interface OnNewRelease {
  serverVersion: Version
  releaseVersion: Version
  /** Format: date-time. */
  checkedAt?: string | null
  isAvailable?: boolean
}

/** Something that a user should read. */
export interface OnNotification {
  id: string
  level: 'success' | 'error' | 'warning' | 'info'
  /** `Custom` */
  type: string
  title: string
  /** Format: date-time. */
  createdAt?: string
  data?: unknown
  description?: string | null
  /** Format: date-time. */
  readAt?: string | null
}

/** The id of a person who has a new thumbnail. */
export type OnPersonThumbnail = string

/** Which version runs. */
export type OnServerVersion = Version

/** The id of a session that was ended. To its device alone. */
export type OnSessionDelete = string

/** An asset was uploaded, and has its thumbnails. */
export type OnUploadSuccess = Asset

/** The id of a user who is gone. */
export type OnUserDelete = string

/** The data of each event, by its name. */
export interface Events {
  AppRestartV1: AppRestartV1
  AssetEditReadyV1: AssetEditReadyV1
  AssetEditReadyV2: AssetEditReadyV2
  AssetUploadReadyV1: AssetUploadReadyV1
  AssetUploadReadyV2: AssetUploadReadyV2
  on_album_update: OnAlbumUpdate
  on_asset_delete: OnAssetDelete
  on_asset_hidden: OnAssetHidden
  on_asset_restore: OnAssetRestore
  on_asset_stack_update: OnAssetStackUpdate
  on_asset_trash: OnAssetTrash
  on_asset_update: OnAssetUpdate
  on_config_update: OnConfigUpdate
  on_new_release: OnNewRelease
  on_notification: OnNotification
  on_person_thumbnail: OnPersonThumbnail
  on_server_version: OnServerVersion
  on_session_delete: OnSessionDelete
  on_upload_success: OnUploadSuccess
  on_user_delete: OnUserDelete
}

/** Any of the events, told apart by `name`. */
export type LiveEvent = {
  [Name in keyof Events]: { readonly name: Name; readonly data: Events[Name] }
}[keyof Events]

/** For socket.io-client: `Socket<ServerToClientEvents>`. */
export interface ServerToClientEvents {
  AppRestartV1: (data: AppRestartV1) => void
  AssetEditReadyV1: (data: AssetEditReadyV1) => void
  AssetEditReadyV2: (data: AssetEditReadyV2) => void
  AssetUploadReadyV1: (data: AssetUploadReadyV1) => void
  AssetUploadReadyV2: (data: AssetUploadReadyV2) => void
  on_album_update: (data: OnAlbumUpdate) => void
  on_asset_delete: (data: OnAssetDelete) => void
  on_asset_hidden: (data: OnAssetHidden) => void
  on_asset_restore: (data: OnAssetRestore) => void
  on_asset_stack_update: () => void
  on_asset_trash: (data: OnAssetTrash) => void
  on_asset_update: (data: OnAssetUpdate) => void
  on_config_update: () => void
  on_new_release: (data: OnNewRelease) => void
  on_notification: (data: OnNotification) => void
  on_person_thumbnail: (data: OnPersonThumbnail) => void
  on_server_version: (data: OnServerVersion) => void
  on_session_delete: (data: OnSessionDelete) => void
  on_upload_success: (data: OnUploadSuccess) => void
  on_user_delete: (data: OnUserDelete) => void
}
