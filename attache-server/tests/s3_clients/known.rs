//! Where attache and moto differ, and why attache is right.

use crate::compare::Difference;
use crate::ground::Kind;
use crate::run::Client;

/// What is known of a client there.
pub(crate) fn known(client: Client, kind: Kind) -> Vec<Difference> {
    let azure = matches!(kind, Kind::FakeAzure | Kind::Azurite);
    let s3 = matches!(kind, Kind::FakeS3 | Kind::FakeGcs);
    let tables: &[&[Difference]] = match client {
        Client::Boto if azure => &[CHECKSUM_TYPE, BOTO, BOTO_NEW, ON_AZURE, BOTO_ON_AZURE],
        Client::Boto if s3 => &[
            CHECKSUM_TYPE,
            BOTO,
            BOTO_NEW,
            ON_AZURE,
            BOTO_ON_AZURE,
            ON_S3,
        ],
        Client::Boto => &[CHECKSUM_TYPE, BOTO, BOTO_NEW, IN_A_FOLDER, BOTO_IN_A_FOLDER],
        Client::BotoOld => &[BOTO, IN_A_FOLDER, BOTO_IN_A_FOLDER],
        Client::AwsSdk if azure => &[CHECKSUM_TYPE, AWS_SDK, ON_AZURE],
        Client::AwsSdk => &[CHECKSUM_TYPE, AWS_SDK, IN_A_FOLDER],
        Client::Growi => &[CHECKSUM_TYPE, GROWI],
        Client::Minio => &[MINIO],
        // People see no differences.
        Client::AwsCli | Client::Rclone | Client::S3Cmd => &[],
    };
    let mut all = tables.concat();
    // There listings tell no checksums, in either version.
    all.retain(|known| !s3 || known.field != ALGORITHM || known.ours == "-");
    all
}

const ALGORITHM: &str = "Contents.ChecksumAlgorithm";

const fn but(
    step: &'static str,
    field: &'static str,
    ours: &'static str,
    why: &'static str,
) -> Difference {
    Difference {
        step,
        field,
        ours,
        why,
    }
}

/// All that is seen of these steps is another.
const fn instead(step: &'static str, ours: &'static str, why: &'static str) -> Difference {
    but(step, "*", ours, why)
}

const WRONG_SIGNATURE: &str = r#"{"code":"SignatureDoesNotMatch","status":403}"#;
const BAD_DIGEST: &str = r#"{"code":"BadDigest","status":400}"#;
const DENIED: &str = r#"{"code":"AccessDenied","status":403}"#;
const NO_UPLOAD: &str = r#"{"code":"NoSuchUpload","status":404}"#;
const TOO_LARGE: &str = r#"{"code":"EntityTooLarge","status":400}"#;
const FULL: &str = r#""FULL_OBJECT""#;

const ANY_SIGNATURE: &str = "moto takes any signature, any key and any time";
const ANY_DIGEST: &str = "moto compares no digest with the bytes";
const ANY_FORM: &str = "moto does not look at the policy of a form";
const OWN_NAME: &str = "the owner of everything is attache";
const NO_OWNER: &str = "there are no accounts behind access keys; clients do not need these";
const LIST_V1: &str = "moto leaves it out of version 1; AWS has it in both";
const NO_VERSION: &str = "a version of \"null\" is what rclone cannot stand, and there are none";
const OWN_LOCATION: &str = "moto names AWS; attache, where the object is";
const COPY_CHECKSUM: &str = "optional in S3; HEAD and GET of the copy tell it";
const KEPT_CHECKSUM: &str = "moto forgets which checksum an object was sent with";
const OF_PARTS: &str = "moto does not put the checksums of parts together";
const NO_PAGES: &str = "moto lists all parts, and none of this page";
const ABORTED: &str = "GROWI takes any other answer for a failure";
const STATELESS: &str = "Azure keeps no uploads: an aborted one begins anew with the next part, which Azure drops after a week";
const SHOWN: &str = "presigned reads are for browsers, and go out under the policy of attachments";

const CHECKSUM_TYPE: &[Difference] = &[but(
    "*",
    "ChecksumType",
    FULL,
    "AWS says so with each checksum; moto does not",
)];

const BOTO: &[Difference] = &[
    instead("wrong secret*", WRONG_SIGNATURE, ANY_SIGNATURE),
    instead(
        "s3*: a URL that was changed",
        WRONG_SIGNATURE,
        ANY_SIGNATURE,
    ),
    instead("s3*: a URL whose time is over", DENIED, ANY_SIGNATURE),
    instead("s3*: a form with a file too large", TOO_LARGE, ANY_FORM),
    instead("s3*: a form that was changed", DENIED, ANY_FORM),
    but("s3*: get", "Content-Disposition", r#""inline""#, SHOWN),
    but(
        "s3*: get",
        "Content-Type",
        r#""text/plain; charset=utf-8""#,
        SHOWN,
    ),
    instead(
        "a key too long",
        r#"{"code":"KeyTooLongError","status":400}"#,
        "moto takes keys of any length",
    ),
    but(
        "list v*",
        "Contents.Owner.DisplayName",
        r#""attache""#,
        OWN_NAME,
    ),
    but(
        "a page, v1",
        "Contents.Owner.DisplayName",
        r#""attache""#,
        OWN_NAME,
    ),
    but(
        "acl",
        "Grants.Grantee.DisplayName",
        r#""attache""#,
        OWN_NAME,
    ),
    but("acl", "Owner.DisplayName", r#""attache""#, OWN_NAME),
    but("list v1*", "Marker", r#""""#, LIST_V1),
    but(
        "list v1 after a key",
        "Marker",
        r#""list/d e/006""#,
        LIST_V1,
    ),
    but("a page, v1", "Marker", r#""""#, LIST_V1),
    but(
        "a page, v1",
        "NextMarker",
        "-",
        "boto3 goes on by the last key; minio would not decode a NextMarker",
    ),
    but(
        "list v1, folders",
        "CommonPrefixes.Prefix",
        r#""list/b+c/""#,
        "moto does not encode the + that boto3 decodes",
    ),
    instead(
        "pages of list_objects /",
        r#"{"value":[{"keys":["list/a-","list/a.txt"],"prefixes":["list/a/","list/b+c/"],"truncated":true},{"keys":["list/z","list/ü"],"prefixes":["list/d e/"],"truncated":false}]}"#,
        "moto does not cut a version 1 listing that has a delimiter",
    ),
    instead(
        "delete many quietly, missing ones too",
        r#"{"status":200}"#,
        "moto is not quiet",
    ),
    instead(
        "copy if it matches, and does not",
        r#"{"code":"PreconditionFailed","status":412}"#,
        "moto does not know these conditions",
    ),
    but(
        "* with SHA1",
        "ChecksumSHA1",
        r#""3Wp89Sz1LaWyvQ03laZ76pGuS/s=""#,
        KEPT_CHECKSUM,
    ),
    but(
        "* with SHA256",
        "ChecksumSHA256",
        r#""e3jY5+UCWkSStNBNs1nUHoSqCO/wMCg74Hfb0I3n3oI=""#,
        KEPT_CHECKSUM,
    ),
    but(
        "* with CRC32",
        "ChecksumCRC32",
        r#""1VWgrw==""#,
        KEPT_CHECKSUM,
    ),
    but(
        "* with CRC32C",
        "ChecksumCRC32C",
        r#""9J+Q+A==""#,
        KEPT_CHECKSUM,
    ),
    instead("put with a wrong *", BAD_DIGEST, ANY_DIGEST),
    instead(
        "put with an MD5 that is none",
        r#"{"code":"InvalidDigest","status":400}"#,
        ANY_DIGEST,
    ),
    instead(
        "a part of number 0",
        r#"{"code":"InvalidArgument","status":400}"#,
        "moto takes it for an upload that is not there",
    ),
    but("parts*", "Initiator.DisplayName", "-", NO_OWNER),
    but("parts*", "Initiator.ID", "-", NO_OWNER),
    but("parts*", "Owner.DisplayName", "-", NO_OWNER),
    but("parts*", "Owner.ID", "-", NO_OWNER),
    but("parts, a page", "IsTruncated", "true", NO_PAGES),
    but("parts, a page", "NextPartNumberMarker", "7", NO_PAGES),
    but("parts, a page", "Parts.PartNumber", "7", NO_PAGES),
    but("parts, a page", "Parts.Size", "5242880", NO_PAGES),
    but(
        "parts, a page",
        "Parts.ETag",
        r#""\"83f43cebb1674beca880b017fa51d177\"""#,
        NO_PAGES,
    ),
    but(
        "uploads*",
        "Prefix",
        r#""parts""#,
        "AWS repeats what was asked for",
    ),
    but("uploads", "Uploads.Initiator.DisplayName", "-", NO_OWNER),
    but("uploads", "Uploads.Initiator.ID", "-", NO_OWNER),
    but("uploads", "Uploads.Owner.DisplayName", "-", NO_OWNER),
    but("uploads", "Uploads.Owner.ID", "-", NO_OWNER),
    but(
        "complete in the wrong order",
        "code",
        r#""InvalidPartOrder""#,
        "moto looks at the sizes first",
    ),
    but(
        "complete*",
        "Location",
        r#""ENDPOINT/files/parts""#,
        OWN_LOCATION,
    ),
    but("complete*", "VersionId", "-", NO_VERSION),
    but(
        "part copied from a missing key",
        "code",
        r#""NoSuchKey""#,
        "moto gives no code",
    ),
];

/// Where checksums are sent of boto3's own accord.
const BOTO_NEW: &[Difference] = &[
    but(
        "range of all",
        "ChecksumCRC32",
        "-",
        "a checksum of all on a 206 makes boto3 fail where it gets a part",
    ),
    but(
        "copy*",
        "CopyObjectResult.ChecksumCRC32",
        "-",
        COPY_CHECKSUM,
    ),
    but(
        "list v1*",
        "Contents.ChecksumAlgorithm",
        r#"["CRC32"]"#,
        LIST_V1,
    ),
    but(
        "a page, v1",
        "Contents.ChecksumAlgorithm",
        r#"["CRC32"]"#,
        LIST_V1,
    ),
    but(
        "* with CRC64NVME",
        "ChecksumCRC64NVME",
        r#""zTCIbuKnGTo=""#,
        KEPT_CHECKSUM,
    ),
    but("parts*", "Parts.ChecksumCRC32", "*", KEPT_CHECKSUM),
];

const AWS_SDK: &[Difference] = &[
    instead("wrong secret*", WRONG_SIGNATURE, ANY_SIGNATURE),
    instead(
        "signed put of another length",
        WRONG_SIGNATURE,
        ANY_SIGNATURE,
    ),
    instead(
        "unknown key",
        r#"{"code":"InvalidAccessKeyId","status":403}"#,
        ANY_SIGNATURE,
    ),
    instead("put with a wrong *", BAD_DIGEST, ANY_DIGEST),
    instead(
        "nothing was put",
        r#"{"code":"NotFound","status":404}"#,
        ANY_DIGEST,
    ),
    instead("a form with a file too large", TOO_LARGE, ANY_FORM),
    but("signed get", "content-disposition", r#""inline""#, SHOWN),
    but(
        "signed get under other headers",
        "content-type",
        r#""text/x; charset=utf-8""#,
        SHOWN,
    ),
    but(
        "list v1",
        "Contents.ChecksumAlgorithm",
        r#"["CRC32"]"#,
        LIST_V1,
    ),
    but(
        "list v1",
        "Contents.Owner.DisplayName",
        r#""attache""#,
        OWN_NAME,
    ),
    but("list v1", "Marker", r#""""#, LIST_V1),
    but(
        "copy*",
        "CopyObjectResult.ChecksumCRC32",
        "-",
        COPY_CHECKSUM,
    ),
    but(
        "upload of 12 MiB",
        "ChecksumCRC32",
        r#""V5w3VQ==-3""#,
        OF_PARTS,
    ),
    but(
        "upload of 12 MiB",
        "ChecksumType",
        r#""COMPOSITE""#,
        OF_PARTS,
    ),
    but(
        "upload of 12 MiB",
        "Location",
        r#""ENDPOINT/files/upload""#,
        OWN_LOCATION,
    ),
    but("upload of 12 MiB", "VersionId", "-", NO_VERSION),
    but(
        "complete*",
        "Location",
        r#""ENDPOINT/files/parts""#,
        OWN_LOCATION,
    ),
    but("complete*", "VersionId", "-", NO_VERSION),
    but("parts", "Initiator.DisplayName", "-", NO_OWNER),
    but("parts", "Initiator.ID", "-", NO_OWNER),
    but("parts", "Owner.DisplayName", "-", NO_OWNER),
    but("parts", "Owner.ID", "-", NO_OWNER),
    but("parts", "Parts.ChecksumCRC32", "*", KEPT_CHECKSUM),
    but(
        "uploads",
        "Prefix",
        r#""parts""#,
        "AWS repeats what was asked for",
    ),
    but("uploads", "Uploads.Initiator.DisplayName", "-", NO_OWNER),
    but("uploads", "Uploads.Initiator.ID", "-", NO_OWNER),
    but("uploads", "Uploads.Owner.DisplayName", "-", NO_OWNER),
    but("uploads", "Uploads.Owner.ID", "-", NO_OWNER),
    instead("abort again", r#"{"status":204}"#, ABORTED),
];

/// Where an upload in parts lies in a folder.
const IN_A_FOLDER: &[Difference] = &[instead(
    "part after abort",
    NO_UPLOAD,
    "moto fails by a fault of its own",
)];

const BOTO_IN_A_FOLDER: &[Difference] = &[instead(
    "complete after abort",
    NO_UPLOAD,
    "moto fails by a fault of its own",
)];

/// Where an upload in parts is blocks of a blob that is not there yet.
const ON_AZURE: &[Difference] = &[
    instead(
        "part after abort",
        r#"{"ChecksumCRC32":"1VWgrw==","ETag":"\"27ea08ac69de1b6f5735e57e267d744a\"","status":200}"#,
        STATELESS,
    ),
    but("uploads", "Uploads.Initiated", "-", STATELESS),
    but("uploads", "Uploads.Key", "-", STATELESS),
    but("uploads", "Uploads.StorageClass", "-", STATELESS),
    but("uploads", "Uploads.UploadId", "-", STATELESS),
];

const BOTO_ON_AZURE: &[Difference] = &[
    but("parts after abort", "*", "*", STATELESS),
    instead(
        "complete after abort",
        r#"{"code":"InvalidPart","status":400}"#,
        STATELESS,
    ),
];

/// Where a listing says what the store's says.
const ON_S3: &[Difference] = &[but(
    "*",
    ALGORITHM,
    "-",
    "a request for each object would tell it; clients ask for it with the object",
)];

const GROWI: &[Difference] = &[
    but(
        "upload of 40 MB",
        "ChecksumCRC32",
        r#""MpWt4A==-8""#,
        OF_PARTS,
    ),
    but(
        "upload of 40 MB",
        "ChecksumType",
        r#""COMPOSITE""#,
        OF_PARTS,
    ),
    but(
        "upload of 40 MB",
        "Location",
        r#""ENDPOINT/files/attachment/5e07345972560e001761fa64.png""#,
        OWN_LOCATION,
    ),
    but("upload of 40 MB", "VersionId", "-", NO_VERSION),
    but(
        "export ends",
        "Location",
        r#""ENDPOINT/files/page-bulk-export/all.zip""#,
        OWN_LOCATION,
    ),
    but("export ends", "VersionId", "-", NO_VERSION),
    instead("abort of an unknown export", r#"{"status":204}"#, ABORTED),
];

const MINIO: &[Difference] = &[
    but("put *", "versionId", "null", NO_VERSION),
    instead(
        "wrong secret",
        r#"{"code":"SignatureDoesNotMatch","status":null}"#,
        ANY_SIGNATURE,
    ),
    but("signed get", "content-disposition", r#""inline""#, SHOWN),
    but(
        "signed get",
        "content-type",
        r#""text/plain; charset=utf-8""#,
        SHOWN,
    ),
];
